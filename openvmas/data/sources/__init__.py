"""Sources of records: folders, tars, tables of addresses, and their licences."""
