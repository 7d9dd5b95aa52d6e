-- Accounts of machines. Whose they are is the account that an authenticator (owner_method) vouches for; '' is nobody's.
create table robot (
	name         text    primary key,
	labels       text    not null, -- JSON
	owner        text    not null,
	owner_method text    not null,
	disabled     integer not null,
	created      bigint  not null
) without rowid;
create index robot_owner on robot (owner, owner_method) where owner <> '';

-- Secrets of machines: those of robots (kind 'robot', the account is the robot's) and of people for their programs
-- ('personal'; method is the authenticator that vouches for the account). Expires, used and revoked are 0 for never.
create table machine_credential (
	id       text   primary key,
	kind     text   not null,
	account  text   not null,
	method   text   not null,
	labels   text   not null, -- JSON: of the account when it was made
	name     text   not null,
	hash     blob   not null, -- SHA-256 of the secret
	scopes   text   not null, -- JSON; null is everything
	networks text   not null, -- JSON; null is anywhere
	created  bigint not null,
	expires  bigint not null,
	used     bigint not null,
	revoked  bigint not null
) without rowid;
create index machine_credential_account on machine_credential (kind, account);
