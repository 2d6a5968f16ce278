package sqldb_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mintmark/internal/audit"
	"mintmark/internal/ledger"
	"mintmark/internal/ledger/ledgertest"
	"mintmark/internal/ledger/sqldb"
)

// The tests of crashes and of a failing disk run the store in a child process:
// this test binary again, told by its environment what to do.
const (
	childDir  = "SQLDB_TEST_DIR"
	childMode = "SQLDB_TEST_MODE"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		if err := child(dir, os.Getenv(childMode)); err != nil {
			fmt.Println("failed:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	// Most of what these tests wait for is the disk, and none takes its power away: what was
	// written outlives the death of a process in memory as on a disk.
	if dir := memory(); dir != "" && os.Getenv("MINTMARK_LONG") == "" {
		os.Setenv("TMPDIR", dir)
	}
	os.Exit(m.Run())
}

// memory is a file system in memory, empty if there is none with room.
func memory() string {
	const dir = "/dev/shm"
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil || fs.Type != unix.TMPFS_MAGIC || uint64(fs.Bavail)*uint64(fs.Bsize) < 2<<30 {
		return ""
	}
	return dir
}

// child issues certificates and prints a line for each that was finished.
func child(dir, mode string) error {
	log, err := audit.Open(dir, audit.Config{Server: "alpha", MaxSize: 256 << 10})
	if err != nil {
		return err
	}
	s, err := sqldb.Open(context.Background(), sqldb.Config{Path: filepath.Join(dir, "ledger.db"), Log: log, Migrate: true, Retry: 50 * time.Millisecond})
	if err != nil {
		return err
	}
	ctx := context.Background()
	epoch, err := s.Join(ctx, "alpha", time.Now(), time.Hour)
	if err != nil {
		return err
	}
	if _, err := s.VoidLapsed(ctx, time.Now()); err != nil {
		return err
	}
	fmt.Println("ready")
	if mode == "crash" {
		var wg sync.WaitGroup
		for range 16 {
			wg.Go(func() {
				for n := 0; ; n++ {
					if line, err := enroll(s, epoch); err != nil {
						fmt.Println("failed:", err)
						return
					} else {
						fmt.Println(line)
					}
				}
			})
		}
		wg.Wait()
		return nil
	}
	// One after another, so that the order of the lines says something.
	after := 0
	for end := time.Now().Add(4 * time.Second); time.Now().Before(end) && after < 20; {
		line, err := enroll(s, epoch)
		switch {
		case err == nil:
			fmt.Println(line)
			if after > 0 {
				after++
			}
		case errors.Is(err, ledger.ErrUnavailable):
			fmt.Println("unavailable", s.Health() != nil)
			after = max(after, 1)
			time.Sleep(20 * time.Millisecond)
		default:
			return err
		}
	}
	return nil
}

// enroll issues one certificate; the line says which.
func enroll(s *sqldb.Store, epoch ledger.Epoch) (string, error) {
	defer s.Announce()()
	ctx := context.Background()
	now := time.Now()
	serial := ledgertest.NewSerial(now)
	i := ledgertest.NewIntent(epoch, now, "dev-"+string(serial), string(serial))
	i.Serial = serial
	i.TBS = bytes.Repeat([]byte(serial), 15)
	results, err := s.Begin(ctx, []ledger.Intent{i})
	if err == nil {
		err = results[0]
	}
	if err != nil {
		return "", err
	}
	results, err = s.Finish(ctx, []ledger.Issued{ledgertest.Signed(i, now)})
	if err == nil {
		err = results[0]
	}
	return "done " + string(serial), err
}

// finished reads the serials that a child has reported.
func finished(t *testing.T, out io.Reader) (serials []ledger.Serial, lines []string) {
	t.Helper()
	in := bufio.NewScanner(out)
	for in.Scan() {
		line := in.Text()
		lines = append(lines, line)
		if strings.HasPrefix(line, "failed:") {
			t.Errorf("child: %s", line)
		}
		// The last line may have been cut off by the kill.
		if serial, ok := strings.CutPrefix(line, "done "); ok && len(serial) == 36 {
			serials = append(serials, ledger.Serial(serial))
		}
	}
	return serials, lines
}

// inspect opens the store that a child has left and checks that everything it
// reported is there, byte for byte, in the database as in the log.
func inspect(t *testing.T, dir string, reported []ledger.Serial) {
	t.Helper()
	log, err := audit.Open(dir, audit.Config{Server: "alpha", MaxSize: 256 << 10})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	s, err := sqldb.Open(context.Background(), sqldb.Config{Path: filepath.Join(dir, "ledger.db"), Log: log})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx := context.Background()
	want := map[ledger.Serial][]byte{} // what the log says that the database holds
	for b, err := range log.Batches(ledger.Head{}) {
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range b.Events {
			if e.Kind == ledger.EventIssued && !b.Aborted {
				want[e.Issued.Serial] = e.Issued.DER
			}
		}
	}
	for _, serial := range reported {
		if want[serial] == nil {
			t.Errorf("%s was reported and is not in the log", serial)
		}
	}
	count := 0
	query := ledger.Query{Limit: 1000, State: ledger.Valid}
	for {
		page, err := s.Certificates(ctx, query)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range page.Certificates {
			count++
			if der := want[c.Serial]; !bytes.Equal(der, c.DER) {
				t.Errorf("%s has %d bytes in the database and %d in the log", c.Serial, len(c.DER), len(der))
			}
		}
		if query.After = page.Next; page.Next == "" {
			break
		}
	}
	if count != len(want) {
		t.Errorf("%d certificates in the database, %d in the log", count, len(want))
	}
	if _, err := s.Join(ctx, "alpha", time.Now(), time.Hour); err != nil {
		t.Fatal(err)
	}
	if _, err := s.VoidLapsed(ctx, time.Now()); err != nil {
		t.Fatal(err)
	}
	page, err := s.Certificates(ctx, ledger.Query{State: ledger.Open})
	if err != nil || len(page.Certificates) != 0 {
		t.Errorf("%d intents of dead epochs are open, %v", len(page.Certificates), err)
	}
	if _, err := audit.Verify(dir); err != nil {
		t.Error(err)
	}
}
