"""Where records come from: folders, tars, tables of addresses, and their licences."""
