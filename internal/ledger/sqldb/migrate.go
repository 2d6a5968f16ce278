package sqldb

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

//go:embed migrations
var migrations embed.FS

// migration is one step of the schema: NNNN_name.sql. Steps only add, so that
// servers of the version before go on working while a new one is rolled out:
// tables, indexes, and columns that have a default. A step that changes what
// earlier versions rely on says so in its first line, and they refuse to work
// on the database from then on.
type migration struct {
	version int
	// min is the oldest schema that a server must know to work on the database
	// after this step.
	min  int
	name string
	text string
}

// minLine begins a migration, followed by its min.
const minLine = "-- works with servers that know schema "

// steps lists the migrations of a dialect in their order. A version is the
// number of its migration, the same in all dialects; there are no gaps and no
// way back.
//
// It is done here in a few lines and not by a migration library: the schema
// only goes forward, and the libraries bring the drivers of every database they
// know.
func steps(dialect string) ([]migration, error) {
	names, err := fs.Glob(migrations, path.Join("migrations", dialect, "*.sql"))
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	var all []migration
	for i, name := range names {
		number, _, _ := strings.Cut(path.Base(name), "_")
		version, err := strconv.Atoi(number)
		if err != nil || version != i+1 {
			return nil, fmt.Errorf("migration %s is not number %d", name, i+1)
		}
		text, err := fs.ReadFile(migrations, name)
		if err != nil {
			return nil, err
		}
		first, _, _ := strings.Cut(string(text), "\n")
		digits, ok := strings.CutPrefix(first, minLine)
		oldest, err := strconv.Atoi(digits)
		if !ok || err != nil || oldest < 1 || oldest > version {
			return nil, fmt.Errorf("migration %s does not begin with %q and a number up to its own", name, minLine)
		}
		all = append(all, migration{version, oldest, path.Base(name), string(text)})
	}
	return all, nil
}

// migrate brings the schema to this version's, or says why not.
func (w *writer) migrate(ctx context.Context, allowed bool) error {
	all, err := steps(w.migrations)
	if err != nil {
		return err
	}
	have, err := w.schemaOf(ctx, w.conn)
	if err != nil {
		return err
	}
	want := len(all)
	switch {
	case have.min > want:
		return fmt.Errorf("database has schema %d, which servers that know schema %d or a later one can work on; this version knows schemas up to %d: run a newer one", have.version, have.min, want)
	case have.version >= want:
		return nil // a newer server has added what this one need not know
	case !allowed:
		return fmt.Errorf("database has schema %d, this version needs schema %d: start the server once, it migrates the database", have.version, want)
	}
	db, err := w.openMigrator()
	if err != nil {
		return err
	}
	defer db.Close()
	unlock, err := w.lockSchema(ctx, db)
	if err != nil {
		return fmt.Errorf("migrating database: %w", err)
	}
	defer unlock()
	conn, err := db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("migrating database: %w", err)
	}
	defer conn.Close()
	// Another server may have been quicker.
	if have, err = w.schemaOf(ctx, conn); err != nil {
		return err
	}
	for _, step := range all[min(have.version, want):] {
		if err := w.apply(ctx, conn, step); err != nil {
			return fmt.Errorf("migrating database with %s: %w", step.name, err)
		}
	}
	return nil
}

// apply runs one step. Where changes of the schema are not part of the
// transaction, a step that was cut off is run again as a whole: its statements
// do nothing when they find what they make.
func (w *writer) apply(ctx context.Context, conn *sql.Conn, step migration) error {
	text, err := w.fit(ctx, conn, step.text)
	if err != nil {
		return err
	}
	have, err := w.schemaOf(ctx, conn)
	if err != nil {
		return err
	}
	if _, err := conn.ExecContext(ctx, "BEGIN"); err != nil {
		return err
	}
	for _, s := range []struct {
		text string
		args []any
	}{
		{text, nil},
		{sqlPutMeta, []any{metaSchemaMin, strconv.Itoa(max(have.min, step.min))}},
		{sqlPutMeta, []any{metaSchema, strconv.Itoa(step.version)}},
		{"COMMIT", nil},
	} {
		if _, err := conn.ExecContext(ctx, s.text, s.args...); err != nil {
			conn.ExecContext(ctx, "ROLLBACK") // what matters is why
			return err
		}
	}
	return nil
}

// lockSchema makes other servers wait that want to migrate a shared database.
// The lock is the row's of a transaction that does nothing else: there are
// databases that commit before they change the schema.
func (w *writer) lockSchema(ctx context.Context, db *sql.DB) (unlock func(), err error) {
	if !w.shared {
		return func() {}, nil
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	for tries := 1; ; tries++ {
		for _, text := range []string{
			`CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL)`,
			`INSERT INTO meta (name, value) VALUES ('` + metaMigration + `', '') ON CONFLICT (name) DO NOTHING`,
			`BEGIN`,
			`SELECT value FROM meta WHERE name = '` + metaMigration + `' FOR UPDATE`,
		} {
			if _, err = conn.ExecContext(ctx, text); err != nil {
				break
			}
		}
		if err == nil {
			return func() {
				conn.ExecContext(ctx, "ROLLBACK")
				conn.Close()
			}, nil
		}
		// Two servers that make the table at once: one of them is told that
		// the name is taken after all.
		if tries == 3 {
			conn.Close()
			return nil, err
		}
		conn.ExecContext(ctx, "ROLLBACK")
	}
}

// schema is what a database says of itself; 0 for a new one.
type schema struct{ version, min int }

func (w *writer) schemaOf(ctx context.Context, conn *sql.Conn) (schema, error) {
	var s schema
	var tables int
	if err := conn.QueryRowContext(ctx, w.hasMeta).Scan(&tables); err != nil {
		return s, fmt.Errorf("reading schema version: %w", err)
	}
	if tables == 0 {
		return s, nil
	}
	for _, row := range []struct {
		name string
		to   *int
	}{{metaSchema, &s.version}, {metaSchemaMin, &s.min}} {
		err := conn.QueryRowContext(ctx, sqlGetMeta, row.name).Scan(row.to)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return s, fmt.Errorf("reading schema version: %w", err)
		}
	}
	if s.min == 0 {
		s.min = s.version // of a version that did not write it: 1
	}
	return s, nil
}
