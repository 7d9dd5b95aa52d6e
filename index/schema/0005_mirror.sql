-- When an upstream has last said that a tag points there to what it does here.
create table tag_confirmed (
	repo_id integer not null references repo (id),
	name    text    not null,
	at      bigint  not null,
	primary key (repo_id, name)
) without rowid;

-- How the last run of each replication ended, by its name.
create table replication (
	name     text    primary key,
	started  bigint  not null,
	finished bigint  not null, -- 0 while it runs
	copied   bigint  not null, -- pieces of content
	present  bigint  not null, -- pieces that were there already
	bytes    bigint  not null,
	failed   bigint  not null, -- tags
	error    text    not null  -- the last one, '' for none
) without rowid;
