"""What is looked for in the rows: one module for each check or what several share; `table` lists them."""
