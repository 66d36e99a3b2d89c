CREATE TABLE projects(
  id TEXT PRIMARY KEY, owner TEXT NOT NULL, name TEXT NOT NULL, state TEXT NOT NULL, error TEXT,
  created REAL NOT NULL, used REAL NOT NULL, filename TEXT, size INTEGER, suffix TEXT NOT NULL DEFAULT '',
  video TEXT, plan_version INTEGER NOT NULL DEFAULT 0, settings TEXT NOT NULL DEFAULT '{}');
CREATE INDEX projects_owner ON projects(owner, created);
CREATE TABLE plans(
  project TEXT NOT NULL REFERENCES projects ON DELETE CASCADE, version INTEGER NOT NULL, made_at REAL NOT NULL,
  note TEXT NOT NULL, yaml TEXT NOT NULL, PRIMARY KEY(project, version));
CREATE TABLE jobs(
  number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE,
  project TEXT NOT NULL REFERENCES projects ON DELETE CASCADE, kind TEXT NOT NULL, priority INTEGER NOT NULL,
  state TEXT NOT NULL, stage TEXT NOT NULL DEFAULT '', progress REAL NOT NULL DEFAULT 0, time_left REAL,
  created REAL NOT NULL, started REAL, finished REAL, interruptions INTEGER NOT NULL DEFAULT 0, error TEXT,
  options TEXT NOT NULL DEFAULT '{}', arguments TEXT NOT NULL DEFAULT '{}',
  attempt INTEGER NOT NULL DEFAULT 0, is_cancelled INTEGER NOT NULL DEFAULT 0);
CREATE INDEX jobs_queue ON jobs(state, priority, number);
CREATE INDEX jobs_project ON jobs(project, number);
CREATE TABLE takes(
  number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE,
  project TEXT NOT NULL REFERENCES projects ON DELETE CASCADE, job TEXT NOT NULL, place INTEGER NOT NULL,
  kind TEXT NOT NULL, parent TEXT, name TEXT NOT NULL, created REAL NOT NULL, state TEXT NOT NULL,
  seed INTEGER NOT NULL, model TEXT NOT NULL, options TEXT NOT NULL, plan TEXT NOT NULL, plan_version INTEGER NOT NULL,
  duration REAL NOT NULL, part TEXT, attempt INTEGER NOT NULL DEFAULT 0, found TEXT NOT NULL DEFAULT '{}');
CREATE INDEX takes_project ON takes(project, number);
CREATE INDEX takes_job ON takes(job);
