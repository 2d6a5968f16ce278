package sqldb

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

//go:embed migrations
var migrations embed.FS

// migration is one step of the schema: NNNN_name.sql.
type migration struct {
	version int
	name    string
	text    string
}

// steps lists the migrations of a dialect in their order. A version is the
// number of its migration; there are no gaps and no way back, because a
// version of the server runs on the schema of the next one too.
//
// It is done here in a few lines and not by a migration library: the schema
// only goes forward, runs under the state directory's lock, and the libraries
// bring the drivers of every database they know.
func steps(dialect string) ([]migration, error) {
	dir := path.Join("migrations", dialect)
	names, err := fs.Glob(migrations, path.Join(dir, "*.sql"))
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
		all = append(all, migration{version, path.Base(name), string(text)})
	}
	return all, nil
}

// migrate brings the schema to this version's, or says why not.
func migrate(ctx context.Context, conn *sql.Conn, allowed bool) error {
	all, err := steps("sqlite")
	if err != nil {
		return err
	}
	have, err := schemaVersion(ctx, conn)
	if err != nil {
		return err
	}
	want := len(all)
	switch {
	case have > want:
		return fmt.Errorf("database has schema %d, this version of the server knows schemas up to %d: it was written by a newer version, run that one", have, want)
	case have == want:
		return nil
	case !allowed:
		return fmt.Errorf("database has schema %d, this version needs schema %d: start the server once, it migrates the database", have, want)
	}
	for _, step := range all[have:] {
		if err := apply(ctx, conn, step); err != nil {
			return fmt.Errorf("migrating database with %s: %w", step.name, err)
		}
	}
	return nil
}

func apply(ctx context.Context, conn *sql.Conn, step migration) error {
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // after Commit it does nothing
	if _, err := tx.ExecContext(ctx, step.text); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, sqlPutMeta, metaSchema, strconv.Itoa(step.version)); err != nil {
		return err
	}
	return tx.Commit()
}

// schemaVersion is 0 for a new database.
func schemaVersion(ctx context.Context, conn *sql.Conn) (int, error) {
	var tables int
	err := conn.QueryRowContext(ctx, `SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'meta'`).Scan(&tables)
	if err != nil {
		return 0, fmt.Errorf("reading schema version: %w", err)
	}
	if tables == 0 {
		return 0, nil
	}
	var version int
	if err := conn.QueryRowContext(ctx, sqlGetMeta, metaSchema).Scan(&version); err != nil {
		return 0, fmt.Errorf("reading schema version: %w", err)
	}
	return version, nil
}
