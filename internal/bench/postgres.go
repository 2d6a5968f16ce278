package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	postgres64 = "postgres_64"
	postgresUp = 30 * time.Second
)

// postgres measures a server whose ledger is in PostgreSQL, which runs on the core of the load,
// and then on both: the figure is the better one, as a database has a host of its own.
func (r *run) postgres(ctx context.Context) error {
	var best Figure
	note := ""
	for _, place := range []struct {
		words string
		cores []int
	}{{"on the load's core", []int{r.loadCore}}, {"on both cores", r.cores}} {
		figure, version, cpu, err := r.postgresOn(ctx, place.cores)
		if errors.Is(err, errNoPostgres) {
			r.without(postgres64, err)
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", postgres64, err)
		}
		if note == "" {
			note = version
		}
		note += fmt.Sprintf("; %s: %.2f of raw, %.3f ms of the database's processor a certificate", place.words, figure.RatioToRaw, millis(cpu))
		if figure.RatioToRaw > best.RatioToRaw {
			best = figure
		}
	}
	best.note = note
	r.add(best)
	return nil
}

// postgresOn measures with a new database on the given cores, and says what it has used.
func (r *run) postgresOn(ctx context.Context, cores []int) (figure Figure, version string, cpu time.Duration, err error) {
	dir := filepath.Join(r.dir, fmt.Sprintf("pg-%d", len(cores)))
	db, err := startPostgres(ctx, dir, cores)
	if err != nil {
		return figure, "", 0, err
	}
	defer func() { err = errors.Join(err, db.stop()) }()
	state, err := r.state(ctx, "postgres-"+strconv.Itoa(len(cores)), db.url())
	if err != nil {
		return figure, "", 0, err
	}
	t, f, err := r.up(ctx, state)
	if err != nil {
		return figure, "", 0, err
	}
	defer func() { err = errors.Join(err, t.stop()) }()
	before, err := db.cpu()
	if err != nil {
		return figure, "", 0, err
	}
	if figure, err = r.load(ctx, t, f, postgres64, clients, true); err != nil {
		return figure, "", 0, err
	}
	after, err := db.cpu()
	return figure, db.version, (after - before) / time.Duration(max(1, int(figure.Value*r.Duration.Seconds()))), err
}

var errNoPostgres = errors.New("PostgreSQL is not installed (initdb and postgres are looked for in PATH and /usr/lib/postgresql)")

// A database is a PostgreSQL server with its settings as they come, which listens on a socket in
// a directory of its own, and on no port.
type database struct {
	dir, version string
	cmd          *exec.Cmd
	ended        chan struct{}
}

const databaseName = "mintmark"

// startPostgres starts a new one on the given cores.
func startPostgres(ctx context.Context, dir string, cores []int) (*database, error) {
	bin, err := findPostgres()
	if err != nil {
		return nil, err
	}
	as, err := unprivileged()
	if err != nil {
		return nil, err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	if as != nil {
		// Who it runs as has to get there.
		if err := errors.Join(os.Chmod(filepath.Dir(dir), 0o711), os.Chown(dir, int(as.Uid), int(as.Gid))); err != nil {
			return nil, err
		}
	}
	command := func(name string, args ...string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, filepath.Join(bin, name), args...)
		cmd.Dir, cmd.SysProcAttr = dir, &syscall.SysProcAttr{Credential: as}
		return cmd
	}
	db := &database{dir: dir, ended: make(chan struct{})}
	data := filepath.Join(dir, "data")
	if out, err := command("initdb", "-D", data, "-U", databaseName, "-E", "UTF8", "--locale=C", "-A", "trust", "-N").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("making a database: %w: %s", err, bytes.TrimSpace(out))
	}
	if out, err := command("postgres", "--version").Output(); err == nil {
		db.version = string(bytes.TrimSpace(out))
	}
	output, err := os.Create(filepath.Join(dir, "output"))
	if err != nil {
		return nil, err
	}
	defer output.Close()
	db.cmd = command("postgres", "-D", data, "-c", "listen_addresses=", "-c", "unix_socket_directories="+dir)
	db.cmd.Stdout, db.cmd.Stderr = output, output
	db.cmd.Cancel = func() error { return db.cmd.Process.Signal(syscall.SIGQUIT) }
	if err := startOn(db.cmd, cores...); err != nil {
		return nil, fmt.Errorf("starting PostgreSQL: %w", err)
	}
	go func() {
		db.cmd.Wait()
		close(db.ended)
	}()
	for end := time.Now().Add(postgresUp); ; {
		if err = db.make(ctx); err == nil {
			return db, nil
		}
		select {
		case <-db.ended:
		case <-time.After(50 * time.Millisecond):
			if time.Now().Before(end) {
				continue
			}
		}
		said, _ := os.ReadFile(output.Name())
		return nil, errors.Join(fmt.Errorf("starting PostgreSQL: %w: %s", err, bytes.TrimSpace(said)), db.stop())
	}
}

// make makes the database of the ledger, once the server answers.
func (d *database) make(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, d.urlOf("postgres"))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, "CREATE DATABASE "+databaseName)
	return err
}

func (d *database) url() string { return d.urlOf(databaseName) }

func (d *database) urlOf(name string) string {
	u := url.URL{Scheme: "postgres", User: url.User(databaseName), Path: "/" + name, RawQuery: url.Values{"host": {d.dir}}.Encode()}
	return u.String()
}

// cpu is the processor time of the server and of all its processes that run.
func (d *database) cpu() (time.Duration, error) {
	total, err := cpuTime(d.cmd.Process.Pid)
	if err != nil {
		return 0, err
	}
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", d.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for _, path := range tasks {
		text, err := os.ReadFile(path)
		if err != nil {
			return 0, err
		}
		for _, field := range bytes.Fields(text) {
			pid, err := strconv.Atoi(string(field))
			if err != nil {
				return 0, err
			}
			if one, err := cpuTime(pid); err == nil { // else it has ended
				total += one
			}
		}
	}
	return total, nil
}

// stop ends the server and waits until it is gone.
func (d *database) stop() error {
	err := d.cmd.Process.Signal(syscall.SIGINT)
	select {
	case <-d.ended:
		return nil
	case <-time.After(postgresUp):
		return errors.Join(err, d.cmd.Process.Kill())
	}
}

// findPostgres returns the directory of the programs of the newest version.
func findPostgres() (string, error) {
	dirs, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil {
		return "", err
	}
	version := func(dir string) int {
		n, _ := strconv.Atoi(filepath.Base(filepath.Dir(dir)))
		return n
	}
	slices.SortFunc(dirs, func(a, b string) int { return version(b) - version(a) })
	for _, dir := range dirs {
		if _, err := os.Stat(filepath.Join(dir, "initdb")); err == nil {
			return dir, nil
		}
	}
	path, err := exec.LookPath("initdb")
	if err != nil {
		return "", errNoPostgres
	}
	return filepath.Dir(path), nil
}

// unprivileged is who PostgreSQL runs as if this process is root's, whom it refuses.
func unprivileged() (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uerr := strconv.ParseUint(u.Uid, 10, 32)
		gid, gerr := strconv.ParseUint(u.Gid, 10, 32)
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, errors.Join(uerr, gerr)
	}
	return nil, errors.New("PostgreSQL does not run as root, and there is no user postgres or nobody")
}
