BEGIN TRANSACTION;
CREATE TABLE account (
	id INTEGER NOT NULL, 
	owner_kind VARCHAR(16) NOT NULL, 
	owner_ref VARCHAR(255) NOT NULL, 
	unit VARCHAR(32) NOT NULL, 
	PRIMARY KEY (id), 
	CONSTRAINT uq_account_owner UNIQUE (owner_kind, owner_ref, unit)
);
INSERT INTO "account" VALUES(1,'user','01a20eea-66e6-73c9-9efb-02064d0b6dbd','milli-unit-seconds');
INSERT INTO "account" VALUES(2,'user','ann','milli-unit-seconds');
INSERT INTO "account" VALUES(3,'user','anna','milli-unit-seconds');
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0001');
CREATE TABLE audit (
	seq INTEGER NOT NULL, 
	at DATETIME NOT NULL, 
	act VARCHAR(64) NOT NULL, 
	actor VARCHAR(256) NOT NULL, 
	target VARCHAR(256) NOT NULL, 
	reason VARCHAR(2000) NOT NULL, 
	details JSON NOT NULL, 
	PRIMARY KEY (seq)
);
INSERT INTO "audit" VALUES(1,'2026-03-02 09:00:00.000000','operator:grant:added','operator','01a20eea-66ee-7475-b5c5-2775affe5041','a test','{"owner": "user:01a20eea-66e6-73c9-9efb-02064d0b6dbd", "amount_milli_unit_seconds": 36000000}');
INSERT INTO "audit" VALUES(2,'2026-03-02 09:00:00.000000','operator:grant:added','operator','01a20eea-66f6-7431-ba67-6d3ff3f69753','a test','{"owner": "user:01a20eea-66e6-73c9-9efb-02064d0b6dbd", "amount_milli_unit_seconds": 600000}');
INSERT INTO "audit" VALUES(3,'2026-03-02 09:00:00.000000','operator:grant:added','operator','01a20eea-66fa-7053-9f00-32dc76328eb9','a test','{"owner": "user:ann", "amount_milli_unit_seconds": 60000}');
INSERT INTO "audit" VALUES(4,'2026-03-02 09:00:00.000000','operator:grant:added','operator','01a20eea-66fc-75cb-b782-1515eeae8061','a test','{"owner": "user:ann", "amount_milli_unit_seconds": 900000}');
INSERT INTO "audit" VALUES(5,'2026-03-02 09:00:00.000000','operator:grant:added','operator','01a20eea-6700-71e5-9bf5-03698c46a367','a test','{"owner": "user:anna", "amount_milli_unit_seconds": 900000}');
INSERT INTO "audit" VALUES(6,'2026-03-02 10:11:00.000000','operator:grant:revoked','olga','01a20eea-66fc-75cb-b782-1515eeae8061','by mistake: “ñ”','{}');
CREATE TABLE balance (
	account_id INTEGER NOT NULL, 
	granted BIGINT NOT NULL, 
	used BIGINT NOT NULL, 
	held BIGINT NOT NULL, 
	generation BIGINT NOT NULL, 
	PRIMARY KEY (account_id), 
	CONSTRAINT ck_balance_held CHECK (held >= 0), 
	CONSTRAINT ck_balance_used CHECK (used >= 0), 
	FOREIGN KEY(account_id) REFERENCES account (id)
);
INSERT INTO "balance" VALUES(1,36060000,60000,18450000,11);
INSERT INTO "balance" VALUES(2,0,0,0,2);
INSERT INTO "balance" VALUES(3,900000,5400000,0,3);
CREATE TABLE entry (
	seq INTEGER NOT NULL, 
	account_id INTEGER NOT NULL, 
	hold_id VARCHAR(36), 
	grant_id VARCHAR(36), 
	kind VARCHAR(16) NOT NULL, 
	amount BIGINT NOT NULL, 
	at DATETIME NOT NULL, 
	actor VARCHAR(256) NOT NULL, 
	reason VARCHAR(2000) NOT NULL, 
	PRIMARY KEY (seq), 
	FOREIGN KEY(account_id) REFERENCES account (id), 
	FOREIGN KEY(grant_id) REFERENCES grant (id), 
	FOREIGN KEY(hold_id) REFERENCES hold (id)
);
INSERT INTO "entry" VALUES(1,1,NULL,'01a20eea-66ee-7475-b5c5-2775affe5041','grant',36000000,'2026-03-02 09:00:00.000000','operator','a test');
INSERT INTO "entry" VALUES(2,1,NULL,'01a20eea-66f6-7431-ba67-6d3ff3f69753','grant',600000,'2026-03-02 09:00:00.000000','operator','a test');
INSERT INTO "entry" VALUES(3,2,NULL,'01a20eea-66fc-75cb-b782-1515eeae8061','grant',900000,'2026-03-02 09:00:00.000000','operator','a test');
INSERT INTO "entry" VALUES(4,3,NULL,'01a20eea-6700-71e5-9bf5-03698c46a367','grant',900000,'2026-03-02 09:00:00.000000','operator','a test');
INSERT INTO "entry" VALUES(5,1,'attempt-6',NULL,'hold',2700000,'2026-03-02 09:00:00.000000','test','');
INSERT INTO "entry" VALUES(6,1,'attempt-6','01a20eea-66f6-7431-ba67-6d3ff3f69753','charge',60000,'2026-03-02 09:00:00.000000','test','');
INSERT INTO "entry" VALUES(7,1,'attempt-6',NULL,'release',-2700000,'2026-03-02 09:00:00.000000','test','');
INSERT INTO "entry" VALUES(8,1,NULL,'01a20eea-66f6-7431-ba67-6d3ff3f69753','lapse',-540000,'2026-03-02 09:11:00.000000','test','');
INSERT INTO "entry" VALUES(9,1,'attempt-7',NULL,'hold',10800000,'2026-03-02 09:11:00.000000','test','');
INSERT INTO "entry" VALUES(10,1,'attempt-7',NULL,'renew',3600000,'2026-03-02 09:11:00.000000','test','');
INSERT INTO "entry" VALUES(11,1,'attempt-8',NULL,'hold',4050000,'2026-03-02 09:11:00.000000','test','');
INSERT INTO "entry" VALUES(12,1,'attempt-9',NULL,'hold',4050000,'2026-03-02 09:11:00.000000','test','');
INSERT INTO "entry" VALUES(13,1,'attempt-9',NULL,'release',-4050000,'2026-03-02 09:11:00.000000','test','the start failed');
INSERT INTO "entry" VALUES(14,1,'attempt-10',NULL,'hold',4050000,'2026-03-02 09:11:00.000000','test','');
INSERT INTO "entry" VALUES(15,1,'attempt-10',NULL,'release',-4050000,'2026-03-02 10:11:00.000000','test','lease ended');
INSERT INTO "entry" VALUES(16,2,NULL,'01a20eea-66fc-75cb-b782-1515eeae8061','lapse',-900000,'2026-03-02 10:11:00.000000','olga','');
INSERT INTO "entry" VALUES(17,3,'attempt-11',NULL,'hold',450000,'2026-03-02 10:11:00.000000','test','');
INSERT INTO "entry" VALUES(18,3,'attempt-11','01a20eea-6700-71e5-9bf5-03698c46a367','charge',900000,'2026-03-02 10:11:00.000000','test','');
INSERT INTO "entry" VALUES(19,3,'attempt-11',NULL,'overrun',4500000,'2026-03-02 10:11:00.000000','test','used beyond what was held and left');
INSERT INTO "entry" VALUES(20,3,'attempt-11',NULL,'release',-450000,'2026-03-02 10:11:00.000000','test','');
CREATE TABLE grant (
	id VARCHAR(36) NOT NULL, 
	"key" VARCHAR(255) NOT NULL, 
	account_id INTEGER NOT NULL, 
	amount BIGINT NOT NULL, 
	starts_at DATETIME NOT NULL, 
	ends_at DATETIME NOT NULL, 
	priority INTEGER NOT NULL, 
	request_id VARCHAR(36), 
	class_id VARCHAR(36), 
	created_by VARCHAR(256) NOT NULL, 
	created_at DATETIME NOT NULL, 
	reason VARCHAR(2000) NOT NULL, 
	revoked_at DATETIME, 
	follows VARCHAR(36), 
	PRIMARY KEY (id), 
	CONSTRAINT ck_grant_amount CHECK (amount > 0), 
	CONSTRAINT ck_grant_times CHECK (ends_at > starts_at), 
	FOREIGN KEY(account_id) REFERENCES account (id), 
	FOREIGN KEY(follows) REFERENCES grant (id), 
	UNIQUE ("key")
);
INSERT INTO "grant" VALUES('01a20eea-66ee-7475-b5c5-2775affe5041','grant-1',1,36000000,'2026-03-02 09:00:00.000000','2026-04-01 09:00:00.000000',0,NULL,NULL,'operator','2026-03-02 09:00:00.000000','a test',NULL,NULL);
INSERT INTO "grant" VALUES('01a20eea-66f6-7431-ba67-6d3ff3f69753','grant-2',1,600000,'2026-03-02 09:00:00.000000','2026-03-02 09:10:00.000000',3,NULL,NULL,'operator','2026-03-02 09:00:00.000000','a test',NULL,NULL);
INSERT INTO "grant" VALUES('01a20eea-66fa-7053-9f00-32dc76328eb9','grant-3',2,60000,'2026-03-04 09:00:00.000000','2026-04-03 09:00:00.000000',0,NULL,NULL,'operator','2026-03-02 09:00:00.000000','a test',NULL,NULL);
INSERT INTO "grant" VALUES('01a20eea-66fc-75cb-b782-1515eeae8061','grant-4',2,900000,'2026-03-02 09:00:00.000000','2026-04-01 09:00:00.000000',0,NULL,NULL,'operator','2026-03-02 09:00:00.000000','a test','2026-03-02 10:11:00.000000',NULL);
INSERT INTO "grant" VALUES('01a20eea-6700-71e5-9bf5-03698c46a367','grant-5',3,900000,'2026-03-02 09:00:00.000000','2026-04-01 09:00:00.000000',0,NULL,NULL,'operator','2026-03-02 09:00:00.000000','a test',NULL,NULL);
CREATE TABLE grant_balance (
	grant_id VARCHAR(36) NOT NULL, 
	account_id INTEGER NOT NULL, 
	amount BIGINT NOT NULL, 
	charged BIGINT NOT NULL, 
	lapsed BIGINT NOT NULL, 
	PRIMARY KEY (grant_id), 
	CONSTRAINT ck_grant_balance CHECK (charged >= 0 AND lapsed >= 0 AND charged + lapsed <= amount), 
	FOREIGN KEY(account_id) REFERENCES account (id), 
	FOREIGN KEY(grant_id) REFERENCES grant (id)
);
INSERT INTO "grant_balance" VALUES('01a20eea-66ee-7475-b5c5-2775affe5041',1,36000000,0,0);
INSERT INTO "grant_balance" VALUES('01a20eea-66f6-7431-ba67-6d3ff3f69753',1,600000,60000,540000);
INSERT INTO "grant_balance" VALUES('01a20eea-66fc-75cb-b782-1515eeae8061',2,900000,0,900000);
INSERT INTO "grant_balance" VALUES('01a20eea-6700-71e5-9bf5-03698c46a367',3,900000,900000,0);
CREATE TABLE hold (
	id VARCHAR(36) NOT NULL, 
	account_id INTEGER NOT NULL, 
	amount BIGINT NOT NULL, 
	rate_version INTEGER NOT NULL, 
	weight_milli BIGINT NOT NULL, 
	flavour VARCHAR(40) NOT NULL, 
	gauge_sessions INTEGER NOT NULL, 
	gauge_cpu INTEGER NOT NULL, 
	gauge_memory_mib INTEGER NOT NULL, 
	gauge_gpu INTEGER NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	reserved_at DATETIME NOT NULL, 
	lease_until DATETIME NOT NULL, 
	hub VARCHAR(255) NOT NULL, 
	user VARCHAR(255) NOT NULL, 
	server VARCHAR(255) NOT NULL, 
	site VARCHAR(40) NOT NULL, 
	backend_ref VARCHAR(255), 
	started_at DATETIME, 
	ended_at DATETIME, 
	charged BIGINT, 
	source VARCHAR(64), 
	PRIMARY KEY (id), 
	CONSTRAINT ck_hold_amount CHECK (amount > 0), 
	FOREIGN KEY(account_id) REFERENCES account (id)
);
INSERT INTO "hold" VALUES('attempt-6',1,2700000,1,1000,'small',1,0,0,0,'settled','2026-03-02 09:00:00.000000','2026-03-02 09:45:00.000000','hub','ana-wcf5j3','','here',NULL,'2026-03-02 09:00:00.000000','2026-03-02 09:01:00.000000',60000,'launcher');
INSERT INTO "hold" VALUES('attempt-7',1,14400000,2,4000,'medium',1,0,0,0,'running','2026-03-02 09:11:00.000000','2026-03-02 10:11:00.000000','hub','ana-wcf5j3','lab','here',NULL,'2026-03-02 09:11:00.000000',NULL,NULL,NULL);
INSERT INTO "hold" VALUES('attempt-8',1,4050000,2,1500,'small',1,0,0,0,'unknown','2026-03-02 09:11:00.000000','2026-03-02 09:56:00.000000','hub','01a20eea-66e6-73c9-9efb-02064d0b6dbd','silent','here',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "hold" VALUES('attempt-9',1,4050000,2,1500,'small',1,0,0,0,'released','2026-03-02 09:11:00.000000','2026-03-02 09:56:00.000000','hub','01a20eea-66e6-73c9-9efb-02064d0b6dbd','never','here',NULL,NULL,NULL,0,'the start failed');
INSERT INTO "hold" VALUES('attempt-10',1,4050000,2,1500,'small',1,0,0,0,'expired','2026-03-02 09:11:00.000000','2026-03-02 09:56:00.000000','hub','01a20eea-66e6-73c9-9efb-02064d0b6dbd','late','here',NULL,NULL,NULL,0,'lease ended');
INSERT INTO "hold" VALUES('attempt-11',3,450000,2,1500,'small',1,0,0,0,'settled','2026-03-02 10:11:00.000000','2026-03-02 10:16:00.000000','hub','anna','over','here',NULL,'2026-03-02 10:11:00.000000','2026-03-02 11:11:00.000000',5400000,'launcher');
CREATE TABLE person (
	id VARCHAR(36) NOT NULL, 
	issuer VARCHAR(512) NOT NULL, 
	subject VARCHAR(512) NOT NULL, 
	user_name VARCHAR(64) NOT NULL, 
	facts JSON NOT NULL, 
	facts_at DATETIME NOT NULL, 
	created_at DATETIME NOT NULL, 
	PRIMARY KEY (id), 
	CONSTRAINT uq_person_issuer_subject UNIQUE (issuer, subject), 
	UNIQUE (user_name)
);
INSERT INTO "person" VALUES('01a20eea-66e6-73c9-9efb-02064d0b6dbd','https://idp.example.org','ana','ana-wcf5j3','{"provider": "cafe", "name": "Ana D\u00edaz", "email": "ana@example.org", "home_organisation": "Universidad de los Andes", "affiliations": ["member@example.org"], "assurance": ["https://refeds.org/assurance/IAP/medium"], "memberships": ["/vo/astro"], "mfa": true, "not_understood": []}','2026-03-02 09:00:00.000000','2026-03-02 09:00:00.000000');
INSERT INTO "person" VALUES('01a20eea-66e9-715f-b1df-d8a6a9d619d5','https://idp.example.org','xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx','xxxxxxxxxxxxxxxxxxxxxxxx-j6xy3v','{"provider": "", "name": "\u65e5\u672c Name\nwith a \"break\"", "email": "", "home_organisation": "", "affiliations": [], "assurance": [], "memberships": [], "mfa": false, "not_understood": []}','2026-03-02 09:00:00.000000','2026-03-02 09:00:00.000000');
CREATE TABLE rate_table (
	version INTEGER NOT NULL, 
	flavour VARCHAR(40) NOT NULL, 
	weight_milli BIGINT NOT NULL, 
	valid_from DATETIME NOT NULL, 
	PRIMARY KEY (version, flavour), 
	CONSTRAINT ck_rate_weight CHECK (weight_milli > 0)
);
INSERT INTO "rate_table" VALUES(1,'medium',4000,'2026-03-02 09:00:00.000000');
INSERT INTO "rate_table" VALUES(1,'small',1000,'2026-03-02 09:00:00.000000');
INSERT INTO "rate_table" VALUES(1,'tiny',1,'2026-03-02 09:00:00.000000');
INSERT INTO "rate_table" VALUES(2,'medium',4000,'2026-03-02 09:00:00.000000');
INSERT INTO "rate_table" VALUES(2,'small',1500,'2026-03-02 09:00:00.000000');
INSERT INTO "rate_table" VALUES(2,'tiny',1,'2026-03-02 09:00:00.000000');
CREATE TABLE session (
	attempt VARCHAR(36) NOT NULL, 
	session_id VARCHAR(36) NOT NULL, 
	hub VARCHAR(255) NOT NULL, 
	user VARCHAR(255) NOT NULL, 
	server VARCHAR(255) NOT NULL, 
	person_id VARCHAR(36) NOT NULL, 
	site VARCHAR(40) NOT NULL, 
	flavour VARCHAR(40) NOT NULL, 
	environment VARCHAR(40) NOT NULL, 
	options JSON NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	secret_hash VARCHAR(64) NOT NULL, 
	nonce VARCHAR(64), 
	exchanged_at DATETIME, 
	token_ids JSON NOT NULL, 
	backend_ref VARCHAR(255), 
	host VARCHAR(255), 
	port INTEGER, 
	created_at DATETIME NOT NULL, 
	submitted_at DATETIME, 
	started_at DATETIME, 
	ready_at DATETIME, 
	ended_at DATETIME, 
	end_reason VARCHAR(16), 
	end_detail VARCHAR(2000), 
	PRIMARY KEY (attempt)
);
INSERT INTO "session" VALUES('attempt-7','attempt-7','hub','ana-wcf5j3','lab','01a20eea-66e6-73c9-9efb-02064d0b6dbd','here','medium','python','{"flavour": "medium", "note": "\u00fc"}','intent','0000000000000000000000000000000000000000000000000000000000000000',NULL,NULL,'[0]',NULL,NULL,NULL,'2026-03-02 10:11:00.000000',NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "session" VALUES('attempt-6','attempt-6','hub','ana-wcf5j3','','01a20eea-66e6-73c9-9efb-02064d0b6dbd','here','medium','python','{"flavour": "medium", "note": "\u00fc"}','intent','0000000000000000000000000000000000000000000000000000000000000000',NULL,NULL,'[1]',NULL,NULL,NULL,'2026-03-02 10:11:00.000000',NULL,NULL,NULL,NULL,NULL,NULL);
CREATE INDEX ix_session_person ON session (person_id, created_at);
CREATE UNIQUE INDEX uq_session_open ON session (hub, user, server) WHERE ended_at IS NULL;
CREATE INDEX ix_grant_account ON grant (account_id, ends_at);
CREATE INDEX ix_hold_account ON hold (account_id, reserved_at);
CREATE INDEX ix_hold_open_lease ON hold (lease_until) WHERE state IN ('held', 'running', 'unknown');
CREATE INDEX ix_hold_open_site ON hold (site) WHERE state IN ('held', 'running', 'unknown');
CREATE UNIQUE INDEX uq_hold_open ON hold (hub, user, server) WHERE state IN ('held', 'running', 'unknown');
CREATE INDEX ix_entry_account ON entry (account_id, seq);
CREATE INDEX ix_entry_hold ON entry (hold_id);
CREATE INDEX ix_grant_balance_left ON grant_balance (account_id) WHERE charged + lapsed < amount;
CREATE UNIQUE INDEX uq_entry_terminal ON entry (hold_id, coalesce(grant_id, ''), kind) WHERE kind IN ('release', 'charge', 'overrun');
CREATE TRIGGER "audit_no_update" BEFORE UPDATE ON "audit" BEGIN SELECT RAISE(ABORT, 'rows of audit are never changed'); END;
CREATE TRIGGER "audit_no_delete" BEFORE DELETE ON "audit" BEGIN SELECT RAISE(ABORT, 'rows of audit are never changed'); END;
CREATE TRIGGER "entry_no_update" BEFORE UPDATE ON "entry" BEGIN SELECT RAISE(ABORT, 'rows of entry are never changed'); END;
CREATE TRIGGER "entry_no_delete" BEFORE DELETE ON "entry" BEGIN SELECT RAISE(ABORT, 'rows of entry are never changed'); END;
CREATE TRIGGER "rate_table_no_update" BEFORE UPDATE ON "rate_table" BEGIN SELECT RAISE(ABORT, 'rows of rate_table are never changed'); END;
CREATE TRIGGER "rate_table_no_delete" BEFORE DELETE ON "rate_table" BEGIN SELECT RAISE(ABORT, 'rows of rate_table are never changed'); END;
CREATE TRIGGER "grant_no_update" BEFORE UPDATE OF "id", "key", "account_id", "amount", "starts_at", "ends_at", "priority", "request_id", "class_id", "created_by", "created_at", "reason", "follows" ON "grant" BEGIN SELECT RAISE(ABORT, 'rows of grant are never changed'); END;
CREATE TRIGGER "grant_no_delete" BEFORE DELETE ON "grant" BEGIN SELECT RAISE(ABORT, 'rows of grant are never changed'); END;
COMMIT;
