"""The page that shows pictures before and after: what it holds, and how it is written."""
