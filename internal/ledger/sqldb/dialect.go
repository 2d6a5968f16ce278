package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"hash/crc32"
	"slices"
	"time"
)

// A dialect is what differs between the databases, and how to reach this one.
// Everything else is SQL that all of them share.
type dialect struct {
	migrations string // their directory
	// shared is set when several servers write to the database. Each has its
	// own position in a log of its own there, and the locks of ops are taken.
	shared bool
	begin  string // begins a transaction that will write
	// forUpdate and forShare end a query that guards a write: what it has read
	// stays so, or cannot become less, until the transaction ends.
	forUpdate, forShare string
	// byEnd is the phrase that makes a query walk the index of ends.
	byEnd string
	// hasMeta counts the tables of the name meta, 0 or 1.
	hasMeta string
	// patience is how long a transaction may take before the database counts
	// as dead; 0 for any time.
	patience time.Duration

	openWriter   func() (*sql.DB, error) // for one connection
	openReaders  func() (*sql.DB, error)
	openMigrator func() (*sql.DB, error)
	// fit says what a schema needs to know of the database: text is changed
	// accordingly.
	fit func(ctx context.Context, conn *sql.Conn, text string) (string, error)
	// sound fails if the database would not keep what it has committed, or
	// cannot keep transactions apart.
	sound func(ctx context.Context, conn *sql.Conn) error
	// pipeline runs statements of which each changes one row, in one way to the database and
	// back, and fails with errApart if one does not; nil where there is no way.
	pipeline func(ctx context.Context, conn *sql.Conn, list []statement) error
	// checkpoint leaves nothing behind that depends on writes which failed.
	checkpoint func(ctx context.Context, conn *sql.Conn) error
	// ofItem reports whether a statement failed for what was to be written:
	// then it is the one op's fault and the store is sound.
	ofItem func(error) bool
	// again reports whether the transaction was rolled back because another
	// one was in its way, so that it will succeed when it is run again.
	again func(error) bool
}

// newDialect picks the dialect that the configuration names.
func newDialect(cfg Config) (*dialect, error) {
	switch {
	case (cfg.Path == "") == (cfg.URL == ""):
		return nil, errors.New("either the path of an SQLite database or the URL of a PostgreSQL database is needed")
	case cfg.URL != "":
		return newPostgres(cfg)
	}
	return newSQLite(cfg.Path), nil
}

// headRow is the row of meta that says where the server's log stood at the
// last commit. A file belongs to one server, and its row has no name in it.
func (d *dialect) headRow(server string) string {
	if d.shared {
		return metaHead + ":" + server
	}
	return metaHead
}

// probeRow is the row of meta that is written to see whether the database
// takes anything. Each server has its own: they would wait for each other.
func (d *dialect) probeRow(server string) string {
	if d.shared {
		return metaProbe + ":" + server
	}
	return metaProbe
}

// slots is how many rows the table locks has: as many as its migration made.
const slots = 1 << 16

// slotOf is the row that stands for a name. All versions that work on one
// database at a time must agree on it.
func slotOf(name string) int64 {
	return int64(crc32.ChecksumIEEE([]byte(name)) % slots)
}

// slotsOf lists the rows that the ops of a batch lock, each once, in the order
// in which every server takes them.
func slotsOf(ops []*op) []int64 {
	var all []int64
	for _, o := range ops {
		for _, name := range o.locks {
			all = append(all, slotOf(name))
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}
