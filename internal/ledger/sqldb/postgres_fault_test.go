package sqldb_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mintmark/internal/audit"
	"mintmark/internal/ledger"
	"mintmark/internal/ledger/sqldb"
	"mintmark/internal/pgtest"
)

// hammer issues from 32 goroutines until it is told to stop. It returns the
// serials that were answered; progress waits until some more were.
func hammer(t *testing.T, m *member) (progress func(), stop func() []ledger.Serial) {
	t.Helper()
	var mu sync.Mutex
	var answered []ledger.Serial
	var wg sync.WaitGroup
	done := make(chan struct{})
	for range 32 {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				line, err := enroll(m.Store, m.epoch)
				switch {
				case err == nil:
					mu.Lock()
					answered = append(answered, ledger.Serial(strings.TrimPrefix(line, "done ")))
					mu.Unlock()
				case errors.Is(err, ledger.ErrUnavailable):
					time.Sleep(5 * time.Millisecond)
				case !errors.Is(err, ledger.ErrVoided): // a Begin that was refused is voided
					t.Error(err)
					return
				}
			}
		})
	}
	count := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(answered)
	}
	progress = func() {
		t.Helper()
		before := count()
		eventually(t, "issuing", func() bool { return count() > before+10 })
	}
	return progress, func() []ledger.Serial {
		close(done)
		wg.Wait()
		return answered
	}
}

// survived checks that a server that has had failures is sound by itself, and
// that everything it has answered is in its log and its database.
func survived(t *testing.T, m *member, answered []ledger.Serial) {
	t.Helper()
	eventually(t, "healing", func() bool { return m.Health() == nil })
	eventually(t, "voiding what was left", func() bool {
		page, err := m.Certificates(t.Context(), ledger.Query{State: ledger.Open})
		return err == nil && len(page.Certificates) == 0
	})
	if line, err := enroll(m.Store, m.epoch); err != nil {
		t.Errorf("after the failures: %v", err)
	} else {
		answered = append(answered, ledger.Serial(strings.TrimPrefix(line, "done ")))
	}
	valid := map[ledger.Serial]bool{}
	for _, c := range everything(t, m.Store) {
		valid[c.Serial] = c.State == ledger.Valid
	}
	for _, serial := range answered {
		if !valid[serial] {
			t.Errorf("%s was answered and is not in the database", serial)
		}
	}
	t.Logf("%d certificates were answered, %d serials are known", len(answered), len(valid))
}

// A connection that is cut anywhere, also within a commit, loses nothing, and
// nothing of it has to be mended by hand.
func TestConnectionCut(t *testing.T) {
	server := pgtest.Start(t)
	url := server.NewDatabase(t)
	m := together(t, url, "alpha")[0]
	progress, stop := hammer(t, m)
	cuts := 0
	for range 15 {
		progress()
		time.Sleep(rand.N(50 * time.Millisecond))
		cuts += server.Cut(t, "application_name = 'mintmark alpha' AND datname = '"+databaseOf(url)+"' AND query NOT LIKE 'SELECT serial%'")
	}
	survived(t, m, stop())
	if cuts < 5 {
		t.Errorf("%d connections were cut", cuts)
	}
	accounts(t, m)
}

func TestDatabaseKilled(t *testing.T) {
	server := pgtest.New(t)
	m := together(t, server.NewDatabase(t), "alpha")[0]
	kills := 4
	if testing.Short() {
		kills = 2
	}
	progress, stop := hammer(t, m)
	for range kills {
		progress()
		time.Sleep(rand.N(50 * time.Millisecond))
		server.Kill(t)
		time.Sleep(rand.N(50 * time.Millisecond))
		server.Restart(t)
		eventually(t, "healing", func() bool { return m.Health() == nil })
	}
	survived(t, m, stop())
	accounts(t, m)
}

// A proxy passes bytes on to a socket until it is told to swallow them.
type proxy struct {
	net.Listener
	swallow atomic.Bool
}

func newProxy(t *testing.T, socket string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{Listener: l}
	t.Cleanup(func() { l.Close() })
	pass := func(to, from net.Conn) {
		defer to.Close()
		buf := make([]byte, 32<<10)
		for {
			n, err := from.Read(buf)
			if err != nil {
				return
			}
			if !p.swallow.Load() {
				to.Write(buf[:n])
			}
		}
	}
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("unix", socket)
			if err != nil {
				client.Close()
				continue
			}
			go pass(server, client)
			go pass(client, server)
		}
	}()
	return p
}

// through is the URL of a database by way of a proxy.
func through(t *testing.T, p *proxy, database string) string {
	t.Helper()
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	u.Host, u.RawQuery = p.Addr().String(), "sslmode=disable&connect_timeout=1"
	return u.String()
}

// A database that says nothing any more is a failure like another, and does not
// stop the server for ever.
func TestSilentDatabase(t *testing.T) {
	server := pgtest.Start(t)
	p := newProxy(t, server.Socket())
	m := &member{dir: t.TempDir()}
	m.Store, m.log = openPostgres(t, through(t, p, server.NewDatabase(t)), "alpha", m.dir, func(c *sqldb.Config) { c.Patience = 300 * time.Millisecond })
	m.join(t, "alpha")
	before, err := m.enroll("dev-1", "k1")
	if err != nil {
		t.Fatal(err)
	}
	p.swallow.Store(true)
	if _, err := enroll(m.Store, m.epoch); !errors.Is(err, ledger.ErrUnavailable) {
		t.Errorf("with a silent database: %v", err)
	}
	if m.Health() == nil {
		t.Error("store calls itself sound")
	}
	p.swallow.Store(false)
	survived(t, m, []ledger.Serial{before})
}

// refusedPostgres wants Open to fail and to say why.
func refusedPostgres(t *testing.T, cfg sqldb.Config, why string) {
	t.Helper()
	log, err := audit.Open(t.TempDir(), audit.Config{Server: "alpha"})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cfg.Log, cfg.Server, cfg.Migrate = log, "alpha", true
	s, err := sqldb.Open(t.Context(), cfg)
	if err == nil {
		s.Close()
		t.Errorf("opened, want %q", why)
		return
	}
	if !strings.Contains(err.Error(), why) || strings.Contains(err.Error(), pgtest.Password) || strings.Contains(err.Error(), "secret") {
		t.Errorf("error %q, want %q and no password", err, why)
	}
}

func TestWhichDatabasesAreRefused(t *testing.T) {
	server := pgtest.Start(t)
	url := server.NewDatabase(t)
	guarded := server.Guarded(t, url)
	password := func(p string, err error) func() (string, error) {
		return func() (string, error) { return p, err }
	}
	for name, c := range map[string]struct {
		cfg sqldb.Config
		why string
	}{
		"two databases":    {sqldb.Config{URL: url, Path: "x"}, "either the path of an SQLite database or the URL"},
		"none":             {sqldb.Config{}, "either the path of an SQLite database or the URL"},
		"another database": {sqldb.Config{URL: "mysql://u:secret@h/d"}, "must look like postgres://"},
		"unreadable":       {sqldb.Config{URL: "postgres://u:secret@h:x%/d"}, "must look like postgres://"},
		"password":         {sqldb.Config{URL: "postgres://u:secret@h/d"}, "holds a password"},
		"password beside":  {sqldb.Config{URL: "postgres://u@h/d?password=secret"}, "holds a password"},
		"sslmode":          {sqldb.Config{URL: "postgres://u@h/d?sslmode=maybe"}, "sslmode"},
		"one connection":   {sqldb.Config{URL: url, MaxConnections: 1}, "are too few"},
		"no password":      {sqldb.Config{URL: guarded}, "password"},
		"wrong password":   {sqldb.Config{URL: guarded, Password: password("secret", nil)}, "password authentication failed"},
		"lost password":    {sqldb.Config{URL: guarded, Password: password("", errors.New("file is gone"))}, "file is gone"},
		"nobody there":     {sqldb.Config{URL: "postgres://mintmark@127.0.0.1:1/ledger?sslmode=disable"}, `connecting to database "ledger" on 127.0.0.1:1`},
		"snapshots":        {sqldb.Config{URL: url + "&default_transaction_isolation=repeatable%20read"}, `isolated as "repeatable read"`},
		"losing commits":   {sqldb.Config{URL: url + "&synchronous_commit=off"}, "synchronous_commit = off"},
	} {
		t.Run(name, func(t *testing.T) { refusedPostgres(t, c.cfg, c.why) })
	}
	t.Run("right password", func(t *testing.T) {
		openPostgres(t, guarded, "alpha", t.TempDir(), func(c *sqldb.Config) { c.Password = password(pgtest.Password, nil) })
	})
}

// A server has one state directory and one process.
func TestServerNameIsTakenOnce(t *testing.T) {
	url := pgtest.Start(t).NewDatabase(t)
	dir, copied := t.TempDir(), t.TempDir()
	first, _ := openPostgres(t, url, "alpha", dir)
	epoch, err := first.Join(t.Context(), "alpha", time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := enroll(first, epoch); err != nil {
		t.Fatal(err)
	}
	t.Run("another log", func(t *testing.T) {
		refusedPostgres(t, sqldb.Config{URL: url}, `another server has the same name, "alpha"`)
	})
	t.Run("a server that is new to the database", func(t *testing.T) {
		m := together(t, url, "beta")[0]
		if _, err := m.enroll("dev-1", "k1"); err != nil {
			t.Error(err)
		}
	})
	// The same directory on another host: the newer process has the name, and
	// the older one is told so and cannot write any more.
	copyFiles(t, copied, dir, "issuance-*")
	second, _ := openPostgres(t, url, "alpha", copied)
	if _, err := first.Join(t.Context(), "alpha", time.Now(), time.Hour); !errors.Is(err, ledger.ErrUnavailable) {
		t.Errorf("the older process: %v", err)
	}
	if _, err := enroll(second, epoch); err != nil {
		t.Errorf("the newer process: %v", err)
	}
	eventually(t, "the older process says why", func() bool {
		err := first.Health()
		return err != nil && strings.Contains(err.Error(), "another process works under this server's name")
	})
}

// Two servers that start on an empty database at once migrate it once.
func TestMigrateAtOnce(t *testing.T) {
	url := pgtest.Start(t).NewDatabase(t)
	var wg sync.WaitGroup
	for n := range 4 {
		dir := t.TempDir()
		wg.Go(func() {
			log, err := audit.Open(dir, audit.Config{Server: fmt.Sprint("server-", n)})
			if err != nil {
				t.Error(err)
				return
			}
			defer log.Close()
			s, err := sqldb.Open(context.Background(), sqldb.Config{
				URL: url, Server: fmt.Sprint("server-", n), Log: log, Migrate: true, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
			})
			if err != nil {
				t.Error(err)
				return
			}
			s.Close()
		})
	}
	wg.Wait()
}
