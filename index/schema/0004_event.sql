-- What has happened and is to be told, in its order. A number is never given twice.
create table event (
	number integer primary key autoincrement,
	body   text    not null -- JSON
);

-- How far an endpoint has been told.
create table event_endpoint (
	name text   primary key,
	last bigint not null
) without rowid;

-- What an endpoint has not taken, and whether it is to be told again.
create table event_dead (
	endpoint text    not null references event_endpoint (name) on delete cascade,
	number   bigint  not null,
	body     text    not null,
	reason   text    not null,
	died     bigint  not null,
	again    integer not null default 0,
	primary key (endpoint, number)
) without rowid;
