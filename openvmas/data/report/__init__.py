"""Reports on a finished set: datasheet, funnel and costs."""
