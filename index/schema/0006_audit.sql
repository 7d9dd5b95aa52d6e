-- The audit log: lines, compressed, many to a page. The last page grows until it is full.
create table audit_page (
	first  integer primary key, -- number of the first entry
	last   bigint  not null,
	began  bigint  not null,    -- the earliest time of an entry, Unix nanoseconds
	ended  bigint  not null,    -- the latest
	hash   text    not null,    -- of the last entry
	filter blob    not null,    -- what may be found in it
	lines  blob    not null
);

-- The last entry that was forgotten, whose hash the first one names that is left.
create table audit_past (
	id     integer primary key check (id = 1),
	number bigint  not null,
	hash   text    not null
);
insert into audit_past (id, number, hash) values (1, 0, '');

-- Entries that have no number yet: each came with the change that it tells of, and waits for whoever keeps the log.
create table audit_note (
	id   integer primary key autoincrement,
	body text    not null -- JSON
);
