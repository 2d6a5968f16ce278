package sqldb_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"mintmark/internal/ledger"
	"mintmark/internal/ledger/sqldb"
)

// cutContext ends at the nth time that somebody looks at it.
type cutContext struct {
	context.Context
	left int
}

func (c *cutContext) over() bool { c.left--; return c.left < 0 }

func (c *cutContext) Done() <-chan struct{} {
	done := make(chan struct{})
	if c.over() {
		close(done)
	}
	return done
}

func (c *cutContext) Err() error {
	if c.over() {
		return context.Canceled
	}
	return nil
}

// A commit of a list, or its removal, that is cut off anywhere can be repeated,
// or the list dropped, by the server's next process.
func TestImportCutAnywhere(t *testing.T) {
	for name, c := range map[string]struct {
		devices int
		first   func(context.Context, *sqldb.Store) error
		commits bool // by the next process
	}{
		"commit, then commit":       {40, commitOf("list"), true},
		"commit, then drop":         {40, commitOf("list"), false},
		"drop, then drop":           {40, dropOf("list"), false},
		"long: commit, then commit": {5200, commitOf("list"), true},
		"long: commit, then drop":   {5200, commitOf("list"), false},
	} {
		t.Run(name, func(t *testing.T) {
			if c.devices > 1000 && testing.Short() {
				t.Skip("takes 20 s")
			}
			step := 1
			from := 0
			switch {
			case c.devices > 1000:
				step = 30
			case os.Getenv("MINTMARK_LONG") == "" && name != "drop, then drop":
				// What a cut leaves does not depend on what comes then: every place is cut
				// at, by turns.
				step = 2
				if !c.commits {
					from = 1
				}
			}
			// Every cut begins with a copy of this one.
			staged := t.TempDir()
			s, log := open(t, staged)
			listNow(t, s, "before", 0, 5, "old")
			if err := stageList(s, "list", 0, c.devices, "new"); err != nil {
				t.Fatal(err)
			}
			s.Close()
			log.Close()
			cuts := 0
			for n := from; n < 200; n += step {
				dir := t.TempDir()
				copyFiles(t, dir, staged, "*")
				s, log := open(t, dir)
				err := c.first(&cutContext{t.Context(), n}, s)
				s.Close()
				log.Close()
				if err == nil {
					break
				}
				cuts++
				s, log = open(t, dir)
				imports, err := s.OpenImports(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				switch {
				case len(imports) == 0: // it was in time all the same
				case c.commits:
					err = commitOf("list")(t.Context(), s)
				default:
					err = dropOf("list")(t.Context(), s)
				}
				if err != nil {
					t.Fatalf("cut %d: %v", n, err)
				}
				listed := len(imports) == 0 && name[:4] != "drop" || c.commits
				found := func(text string) int {
					all, err := s.Devices(t.Context(), ledger.DeviceQuery{Text: text, Limit: 1000})
					if err != nil {
						t.Fatal(err)
					}
					return len(all)
				}
				if want := min(c.devices, 1000); listed && (found("new-") != want || found("p-new") != want || found("old-") != 0) {
					t.Fatalf("cut %d: of %d devices %d are found by a field and %d by their product, %d by what they had", n, c.devices, found("new-"), found("p-new"), found("old-"))
				}
				if !listed {
					if found("new-") != 0 || found("p-new") != 0 || found("old-") != 5 {
						t.Fatalf("cut %d: found %d and %d of a list that was dropped, and %d of the one before", n, found("new-"), found("p-new"), found("old-"))
					}
					listNow(t, s, "again", 5, c.devices, "new")
					if want := min(c.devices-5, 1000); found("new-") != want {
						t.Fatalf("cut %d: listed again, %d are found", n, found("new-"))
					}
				}
				listNow(t, s, "last", 0, 0, "") // removes the rows that are left over
				s.Close()
				log.Close()
				if (n-from)%(3*step) != 0 {
					continue
				}
				rebuilt, _ := replay(t, dir)
				same(t, openFile(t, filepath.Join(dir, "ledger.db")), openFile(t, rebuilt), "device_fields", "field_runs", "meta")
			}
			if cuts < 2 {
				t.Errorf("cut off %d times only", cuts)
			}
		})
	}
}

func commitOf(id string) func(context.Context, *sqldb.Store) error {
	return func(ctx context.Context, s *sqldb.Store) error {
		_, err := s.CommitImport(ctx, id, time.Now())
		return err
	}
}

func dropOf(id string) func(context.Context, *sqldb.Store) error {
	return func(ctx context.Context, s *sqldb.Store) error { return s.DropImport(ctx, id) }
}

// stageList stages a list of devices.
func stageList(s *sqldb.Store, id string, from, to int, word string) error {
	ctx := context.Background()
	err := s.OpenImport(ctx, ledger.Import{ID: id, File: id + ".csv", At: time.Now(), Update: true})
	for err == nil && from < to {
		var rows []ledger.Listing
		for ; from < to && len(rows) < 1000; from++ {
			rows = append(rows, ledger.Listing{
				Row: from + 1, Device: fmt.Sprintf("dev-%05d", from), Product: "p-" + word, Fields: map[string]string{"mac": fmt.Sprintf("%s-%05d", word, from)},
			})
		}
		err = s.StageDevices(ctx, id, rows)
	}
	return err
}

// listNow puts a list in force.
func listNow(t *testing.T, s *sqldb.Store, id string, from, to int, word string) {
	t.Helper()
	if err := errors.Join(stageList(s, id, from, to, word), commitOf(id)(t.Context(), s)); err != nil {
		t.Fatal(err)
	}
}
