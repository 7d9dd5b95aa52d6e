-- Who has signed in with a browser at a provider. Issuer and subject are who they are there; subject is '' until the
-- provider was asked about somebody whom another program had signed in. Due is 0 for never, ended is '' while the
-- provider vouches, tokens are encrypted.
create table sign_in (
	id       integer primary key,
	provider text    not null,
	issuer   text    not null,
	subject  text    not null,
	account  text    not null,
	labels   text    not null, -- JSON
	tokens   blob    not null,
	checked  bigint  not null,
	due      bigint  not null,
	ended    text    not null,
	created  bigint  not null,
	unique (provider, account)
);
create unique index sign_in_subject on sign_in (provider, issuer, subject) where subject <> '';
create index sign_in_account on sign_in (account);

-- Expires, used and revoked are 0 for never.
create table app_password (
	id         text    primary key,
	sign_in_id integer not null references sign_in (id),
	name       text    not null,
	hash       text    not null, -- "sha256:<hex>" or bcrypt
	created    bigint  not null,
	expires    bigint  not null,
	used       bigint  not null,
	revoked    bigint  not null
) without rowid;
create index app_password_sign_in on app_password (sign_in_id);

-- Sessions of browsers, by the hash of their cookie.
create table web_session (
	token   text   primary key,
	data    blob   not null,
	expires bigint not null
) without rowid;
create index web_session_expires on web_session (expires);

-- Databases of other programs that have been read, which is done once.
create table imported (
	source text   primary key,
	at     bigint not null
) without rowid;
