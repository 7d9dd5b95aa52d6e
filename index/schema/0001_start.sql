-- Names are compared byte by byte. Times are Unix seconds. A digest is "algorithm:hex".

-- Listed is 1 while the repository holds a manifest: the catalog shows it then.
create table repo (
	id      integer primary key,
	name    text    not null unique,
	listed  integer not null,
	created bigint  not null
);
create index repo_listed on repo (name) where listed = 1;

-- A blob is visible in a repository because of its row here, and for no other reason.
create table repo_blob (
	repo_id integer not null references repo (id),
	digest  text    not null,
	size    bigint  not null,
	primary key (repo_id, digest)
) without rowid;
create index repo_blob_digest on repo_blob (digest);

-- Subject, artifact type and annotations (JSON) are what GET referrers answers with.
create table manifest (
	repo_id       integer not null references repo (id),
	digest        text    not null,
	media_type    text    not null,
	size          bigint  not null,
	subject       text    not null default '',
	artifact_type text    not null default '',
	annotations   text    not null default '',
	created       bigint  not null,
	primary key (repo_id, digest)
) without rowid;
create index manifest_subject on manifest (repo_id, subject, digest) where subject <> '';

create table tag (
	repo_id integer not null references repo (id),
	name    text    not null,
	digest  text    not null,
	updated bigint  not null,
	primary key (repo_id, name),
	foreign key (repo_id, digest) references manifest (repo_id, digest)
) without rowid;
create index tag_digest on tag (repo_id, digest);

-- An upload belongs to the repository and the account that began it.
create table upload (
	id        text   primary key,
	repo      text   not null,
	account   text   not null,
	algorithm text   not null,
	size      bigint not null,
	updated   bigint not null
) without rowid;
create index upload_account on upload (account);

create table account (
	name     text   primary key,
	password text   not null, -- bcrypt
	labels   text   not null, -- JSON: {"name": ["value", ...]}
	created  bigint not null
) without rowid;

create table refresh_token (
	hash      blob   primary key, -- SHA-256 of the secret
	service   text   not null,
	client_id text   not null,
	account   text   not null,
	method    text   not null,
	stamp     text   not null,
	labels    text   not null, -- JSON
	expires   bigint not null
) without rowid;
create index refresh_token_expires on refresh_token (expires);
