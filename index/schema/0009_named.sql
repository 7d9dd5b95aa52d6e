-- What manifests name: named is 1 where it is noted, 0 where it is not yet, 2 where their bytes could not be read.
alter table manifest add column named integer not null default 0;
create index manifest_unnamed on manifest (repo_id, digest) where named = 0;

create table manifest_blob (
	repo_id integer not null references repo (id),
	digest  text    not null,
	blob    text    not null,
	primary key (repo_id, blob, digest)
) without rowid;
create index manifest_blob_digest on manifest_blob (repo_id, digest);

create table manifest_child (
	repo_id integer not null references repo (id),
	digest  text    not null,
	child   text    not null,
	primary key (repo_id, child, digest)
) without rowid;
create index manifest_child_digest on manifest_child (repo_id, digest);

-- Who has brought content to a repository of which they may not pull everything: they know it, and may use it there.
create table brought (
	repo_id integer not null references repo (id),
	digest  text    not null,
	account text    not null,
	primary key (repo_id, digest, account)
) without rowid;
