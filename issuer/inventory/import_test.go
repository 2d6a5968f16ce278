package inventory_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"mintmark/internal/audit"
	"mintmark/internal/ledger"
	"mintmark/internal/ledger/sqldb"
	"mintmark/issuer/inventory"
)

// open is a ledger as a server has it.
func open(t testing.TB) *sqldb.Store {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "log"), 0o700); err != nil {
		t.Fatal(err)
	}
	log, err := audit.Open(filepath.Join(dir, "log"), audit.Config{Server: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	store, err := sqldb.Open(t.Context(), sqldb.Config{Path: filepath.Join(dir, "ledger.db"), Log: log, Migrate: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return store
}

func options() inventory.Options {
	return inventory.Options{File: "devices.csv", Actor: "anna", Server: "test", Format: inventory.CSV}
}

// numbered is a list of n devices.
func numbered(n int) string {
	var b strings.Builder
	b.WriteString("device,product,mac\n")
	for i := range n {
		fmt.Fprintf(&b, "SN-%07d,pump,00:00:%02x:%02x\n", i+1, i>>8&0xff, i&0xff)
	}
	return b.String()
}

// nothing checks that no import has left anything behind.
func nothing(t *testing.T, store *sqldb.Store) {
	t.Helper()
	devices, err := store.Devices(t.Context(), ledger.DeviceQuery{})
	if err != nil || len(devices) > 0 {
		t.Errorf("there are devices %+v, %v", devices, err)
	}
	imports, err := store.OpenImports(t.Context())
	if err != nil || len(imports) > 0 {
		t.Errorf("there are open imports %+v, %v", imports, err)
	}
}

func TestImport(t *testing.T) {
	store := open(t)
	var stages []string
	o := options()
	o.Order, o.Product = "WO-1", "valve"
	done, err := inventory.Import(t.Context(), store, strings.NewReader("device;batch;product\na1;7;\na2;8;pump\n"), o, func(p inventory.Progress) {
		stages = append(stages, fmt.Sprint(p))
	})
	if err != nil {
		t.Fatal(err)
	}
	if done.Devices != 2 || done.New != 2 || done.File != "devices.csv" || done.Actor != "anna" || done.Server != "test" {
		t.Errorf("import is %+v", done)
	}
	if got := fmt.Sprint(stages); got != "[{importing 2 2} {committing 2 2}]" {
		t.Errorf("progress was %s", got)
	}
	a1, err := store.Device(t.Context(), "a1")
	if err != nil || a1.State != ledger.Expected || a1.Order != "WO-1" || a1.Product != "valve" || a1.Fields["batch"] != "7" || a1.Import != done.ID {
		t.Errorf("a1 is %+v, %v", a1, err)
	}
	if a2, err := store.Device(t.Context(), "a2"); err != nil || a2.Product != "pump" {
		t.Errorf("a2 is %+v, %v", a2, err)
	}

	// The same again and one more: nothing changes for the two.
	done, err = inventory.Import(t.Context(), store, strings.NewReader("device;batch;product\na1;7;\na2;8;pump\na3;;\n"), o, nil)
	if err != nil || done.Devices != 3 || done.New != 1 {
		t.Errorf("import is %+v, %v", done, err)
	}
	// Something else is refused, unless it is an update.
	other := "device;batch\na4;1\na1;9\n"
	_, err = inventory.Import(t.Context(), store, strings.NewReader(other), o, nil)
	var refused *inventory.ListError
	if !errors.As(err, &refused) || len(refused.Rows) != 1 || refused.Rows[0].Row != 2 || refused.Rows[0].Line != 3 || refused.Rows[0].Device != "a1" {
		t.Errorf("got %v, want row 2 refused", err)
	}
	if _, err := store.Device(t.Context(), "a4"); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("a4 of a refused list: %v", err)
	}
	o.Update = true
	if done, err = inventory.Import(t.Context(), store, strings.NewReader(other), o, nil); err != nil || done.New != 1 || done.Devices != 2 {
		t.Errorf("import is %+v, %v", done, err)
	}
	if a1, err = store.Device(t.Context(), "a1"); err != nil || a1.Fields["batch"] != "9" {
		t.Errorf("a1 is %+v, %v", a1, err)
	}
}

// Whatever is wrong, nothing is left of the list, and it can be imported once
// it is right.
// TestImportWide imports rows with so much in them that a thousand together
// would be more than one record of the issuance log can hold.
func TestImportWide(t *testing.T) {
	store := open(t)
	var b strings.Builder
	b.WriteString("device")
	for n := range 30 {
		fmt.Fprintf(&b, ",field-%d", n)
	}
	value := strings.Repeat("<", 990) // takes six bytes in JSON
	for n := range 400 {
		fmt.Fprintf(&b, "\nwide-%d%s", n, strings.Repeat(","+value, 30))
	}
	done, err := inventory.Import(t.Context(), store, strings.NewReader(b.String()), options(), nil)
	if err != nil || done.New != 400 {
		t.Fatalf("imported %+v, %v", done, err)
	}
	if err := store.Health(); err != nil {
		t.Fatal(err)
	}
}

func TestImportRefused(t *testing.T) {
	store := open(t)
	deny := func(list, want string, change func(*inventory.Options)) {
		t.Helper()
		o := options()
		if change != nil {
			change(&o)
		}
		if _, err := inventory.Import(t.Context(), store, strings.NewReader(list), o, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error with %q", err, want)
		}
		nothing(t, store)
	}
	deny("", "the list is empty", nil)
	deny("device\na1\nx y\n", `row 2 (line 3): device "x y": the identifier must be`, nil)
	deny("device\na1\n\na1\n", `row 2 (line 4): device "a1": it is in row 1 already`, nil)
	deny("device,order\na1,WO-2\n", `row 1 (line 2): device "a1": it names work order "WO-2", but the list is imported for "WO-1"`, func(o *inventory.Options) { o.Order = "WO-1" })
	deny("device\na1\n", `order "a b" must be`, func(o *inventory.Options) { o.Order = "a b" })
	deny("device\na1\n", "product holds the character U+000A", func(o *inventory.Options) { o.Product = "a\nb" })
	deny("device\na1\n", "file has 256 bytes", func(o *inventory.Options) { o.File = strings.Repeat("x", 256) })
	deny("device\na1\n", "is neither csv nor ndjson", func(o *inventory.Options) { o.Format = "xml" })
	// The second chunk repeats a device of the first, which is staged by then.
	deny(numbered(1500)+"SN-0000007,,\n", `row 1501 (line 1502): device "SN-0000007": it is in row 7 already`, nil)

	many := "device\n" + strings.Repeat("-\n", 30)
	o := options()
	_, err := inventory.Import(t.Context(), store, strings.NewReader(many), o, nil)
	var refused *inventory.ListError
	if !errors.As(err, &refused) || len(refused.Rows) != 20 || !refused.More {
		t.Errorf("got %v, want 20 rows and the word that there may be more", err)
	}

	o.CheckOnly = true
	if done, err := inventory.Import(t.Context(), store, strings.NewReader(numbered(3)), o, nil); err != nil || done.Devices != 3 || done.ID != "" {
		t.Errorf("a check says %+v, %v", done, err)
	}
	nothing(t, store)
	o.CheckOnly = false
	if done, err := inventory.Import(t.Context(), store, strings.NewReader(numbered(1500)), o, nil); err != nil || done.New != 1500 {
		t.Errorf("import is %+v, %v", done, err)
	}
}

// failing is a ledger that fails at one point of an import.
type failing struct {
	*sqldb.Store
	stage  func() error
	commit func(inner func() (ledger.Import, error)) (ledger.Import, error)
}

func (f failing) StageDevices(ctx context.Context, id string, rows []ledger.Listing) error {
	if f.stage != nil {
		if err := f.stage(); err != nil {
			return err
		}
	}
	return f.Store.StageDevices(ctx, id, rows)
}

func (f failing) CommitImport(ctx context.Context, id string, now time.Time, tasks ...ledger.Task) (ledger.Import, error) {
	inner := func() (ledger.Import, error) { return f.Store.CommitImport(ctx, id, now, tasks...) }
	if f.commit != nil {
		return f.commit(inner)
	}
	return inner()
}

func TestImportFails(t *testing.T) {
	broken := errors.New("the disk is full")
	t.Run("while staging", func(t *testing.T) {
		store, calls := open(t), 0
		f := failing{Store: store, stage: func() error {
			if calls++; calls == 2 {
				return broken
			}
			return nil
		}}
		if _, err := inventory.Import(t.Context(), f, strings.NewReader(numbered(2500)), options(), nil); !errors.Is(err, broken) || !strings.Contains(err.Error(), "rows 1001 to 2000") {
			t.Errorf("got %v", err)
		}
		nothing(t, store)
	})
	t.Run("before the commit", func(t *testing.T) {
		store := open(t)
		f := failing{Store: store, commit: func(func() (ledger.Import, error)) (ledger.Import, error) { return ledger.Import{}, broken }}
		if _, err := inventory.Import(t.Context(), f, strings.NewReader(numbered(10)), options(), nil); !errors.Is(err, broken) {
			t.Errorf("got %v", err)
		}
		nothing(t, store)
	})
	// The caller is told to look, and finds the list in force.
	t.Run("behind the commit", func(t *testing.T) {
		store := open(t)
		f := failing{Store: store, commit: func(inner func() (ledger.Import, error)) (ledger.Import, error) {
			if _, err := inner(); err != nil {
				t.Error(err)
			}
			return ledger.Import{}, broken
		}}
		if _, err := inventory.Import(t.Context(), f, strings.NewReader(numbered(10)), options(), nil); !errors.Is(err, broken) || !strings.Contains(err.Error(), "mintmark device list tells") {
			t.Errorf("got %v", err)
		}
		if devices, err := store.Devices(t.Context(), ledger.DeviceQuery{}); err != nil || len(devices) != 10 {
			t.Errorf("there are %d devices, %v", len(devices), err)
		}
	})
	t.Run("when its caller goes", func(t *testing.T) {
		store := open(t)
		ctx, cancel := context.WithCancel(t.Context())
		_, err := inventory.Import(ctx, store, strings.NewReader(numbered(2500)), options(), func(p inventory.Progress) {
			if p.Stage == inventory.Importing {
				cancel()
			}
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		nothing(t, store)
	})
}

// What a server that died left open is dropped when it starts again; what
// another server imports is not.
func TestDropStale(t *testing.T) {
	store := open(t)
	now := time.Now()
	for id, server := range map[string]string{"one": "test", "two": "other"} {
		if err := store.OpenImport(t.Context(), ledger.Import{ID: id, File: "x", Actor: "anna", At: now, Server: server}); err != nil {
			t.Fatal(err)
		}
		if err := store.StageDevices(t.Context(), id, []ledger.Listing{{Row: 1, Device: id}}); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := inventory.DropStale(t.Context(), store, "test"); n != 1 || err != nil {
		t.Errorf("dropped %d, %v", n, err)
	}
	left, err := store.OpenImports(t.Context())
	if err != nil || len(left) != 1 || left[0].ID != "two" {
		t.Errorf("open are %+v, %v", left, err)
	}
	if done, err := inventory.Import(t.Context(), store, strings.NewReader("device\none\n"), options(), nil); err != nil || done.New != 1 {
		t.Errorf("import is %+v, %v", done, err)
	}
}

// A list of 20,000 devices or, with MINTMARK_LONG=1 go test -run Scale -v, of a
// million. Memory is that of the process, which does nothing else then.
func TestScale(t *testing.T) {
	rows := 20_000
	if os.Getenv("MINTMARK_LONG") != "" {
		rows = 1_000_000
	}
	last := rows - 1 // the row that is wrong, and that is looked for
	write := func(wrong int) *os.File {
		f, err := os.Create(filepath.Join(t.TempDir(), "devices.csv"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		w := bufio.NewWriter(f)
		fmt.Fprintln(w, "device,product,key_sha256,mac,batch")
		for i := 1; i <= rows; i++ {
			id := fmt.Sprintf("SN-%07d", i)
			if i == wrong {
				id = "x y"
			}
			fmt.Fprintf(w, "%s,pump 3,%064x,02:00:00:%02x:%02x:%02x,B%05d\n", id, i, i>>16&0xff, i>>8&0xff, i&0xff, i/1000)
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		return f
	}
	store := open(t)

	start := time.Now()
	_, err := inventory.Import(t.Context(), store, write(last), options(), nil)
	want := fmt.Sprintf(`row %d (line %d): device "x y": the identifier must be 1 to 64 letters, digits and . _ : -, beginning and ending with a letter or digit`, last, last+1)
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	nothing(t, store)
	t.Logf("a bad row %d is refused after %v, with the writing of the file", last, time.Since(start).Round(time.Millisecond))

	list := write(0)
	start = time.Now()
	done, err := inventory.Import(t.Context(), store, list, options(), nil)
	took := time.Since(start)
	if err != nil || done.New != rows || done.Devices != rows {
		t.Fatalf("import is %+v, %v", done, err)
	}
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		t.Fatal(err)
	}
	cpu := time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	t.Logf("%d devices in %v, %v of a processor since the test began, at most %d MiB resident", rows, took.Round(time.Millisecond), cpu.Round(time.Millisecond), usage.Maxrss>>10)
	if limit := int64(200); rows == 1_000_000 && usage.Maxrss>>10 > limit {
		t.Errorf("%d MiB are resident, more than %d", usage.Maxrss>>10, limit)
	}
	device := fmt.Sprintf("SN-%07d", last)
	for _, text := range []string{device, fmt.Sprintf("02:00:00:%02x:%02x:%02x", last>>16&0xff, last>>8&0xff, last&0xff)} {
		found, err := store.Devices(t.Context(), ledger.DeviceQuery{Text: text})
		if err != nil || len(found) != 1 || found[0].ID != device {
			t.Errorf("%s finds %+v, %v", text, found, err)
		}
	}

	// A bad row that only the ledger can find, when nearly all is staged.
	content, err := os.ReadFile(list.Name())
	if err != nil {
		t.Fatal(err)
	}
	fresh := strings.ReplaceAll(string(content), "SN-", "SM-")
	fresh = strings.Replace(fresh, fmt.Sprintf("SM-%07d", last), "SM-0000007", 1)
	start = time.Now()
	_, err = inventory.Import(t.Context(), store, strings.NewReader(fresh), options(), nil)
	want = fmt.Sprintf(`row %d (line %d): device "SM-0000007": it is in row 7 already`, last, last+1)
	if err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
	t.Logf("a repeated device in row %d is refused after %v, with the removal of what was staged", last, time.Since(start).Round(time.Millisecond))
	if left, err := store.Devices(t.Context(), ledger.DeviceQuery{Text: "SM-"}); err != nil || len(left) > 0 {
		t.Errorf("there are devices %+v, %v", left, err)
	}
	if imports, err := store.OpenImports(t.Context()); err != nil || len(imports) > 0 {
		t.Errorf("there are open imports %+v, %v", imports, err)
	}
}
