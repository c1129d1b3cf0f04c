-- '' as the path of a column: no field is known to fill it. It was made for its name in the contract, and the first
-- field that would have this name fills it. Where no row was ever loaded, no path was seen.
UPDATE millrace.columns SET path = '' WHERE path = name
    AND pipeline || '.' || stream NOT IN (SELECT pipeline || '.' || stream FROM millrace.batches WHERE rows_inserted > 0);
