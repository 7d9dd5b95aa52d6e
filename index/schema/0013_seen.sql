-- Who has entries in the audit log, by what they have proven, as they were last seen.
create table audit_seen (
	account text   not null,
	method  text   not null,
	number  bigint not null, -- of the last entry
	time    bigint not null, -- of that, Unix nanoseconds
	labels  text   not null, -- JSON
	claims  text   not null, -- JSON
	primary key (account, method)
);
create index audit_seen_number on audit_seen (number);
