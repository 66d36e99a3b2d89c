"""What a finished set holds, costs and refused."""
