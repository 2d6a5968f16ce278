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
	"strings"
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
	bin, err := findPostgres()
	if err != nil {
		r.without(postgres64, err)
		return nil
	}
	version, err := exec.CommandContext(ctx, filepath.Join(bin, "postgres"), "--version").Output()
	if err != nil {
		return fmt.Errorf("asking PostgreSQL in %s for its version: %w", bin, err)
	}
	var best Figure
	notes := []string{string(bytes.TrimSpace(version))}
	for _, place := range []struct {
		words string
		cores []int
	}{{"on the load's core", []int{r.loadCore}}, {"on both cores", r.cores}} {
		figure, cpu, err := r.postgresOn(ctx, bin, place.cores)
		if err != nil {
			return fmt.Errorf("%s %s: %w", postgres64, place.words, err)
		}
		notes = append(notes, fmt.Sprintf("%s: %.2f of raw, %.3f ms of the database's processor a certificate", place.words, figure.RatioToRaw, millis(cpu)))
		if figure.RatioToRaw > best.RatioToRaw {
			best = figure
		}
	}
	best.note = strings.Join(notes, "; ")
	r.add(best)
	return nil
}

// postgresOn measures with a new database on the given cores, and says what it has used for a
// certificate.
func (r *run) postgresOn(ctx context.Context, bin string, cores []int) (figure Figure, cpu time.Duration, err error) {
	name := fmt.Sprintf("postgres-%d", len(cores))
	db, err := startPostgres(ctx, bin, filepath.Join(r.dir, name), cores)
	if err != nil {
		return Figure{}, 0, err
	}
	defer func() { err = errors.Join(err, db.stop()) }()
	state, err := r.state(ctx, name+"-state", db.url(databaseName))
	if err != nil {
		return Figure{}, 0, err
	}
	t, f, err := r.up(ctx, state)
	if err != nil {
		return Figure{}, 0, err
	}
	defer func() { err = errors.Join(err, t.stop()) }()
	before, err := db.cpu()
	if err != nil {
		return Figure{}, 0, err
	}
	if figure, err = r.load(ctx, t, f, postgres64, clients, true); err != nil {
		return Figure{}, 0, err
	}
	after, err := db.cpu()
	return figure, (after - before) / time.Duration(figure.count), err
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
	if err == nil {
		path, err = filepath.EvalSymlinks(path) // the others are beside what it is a link to
	}
	if err != nil {
		return "", errors.New("PostgreSQL is not installed (initdb and postgres are looked for in /usr/lib/postgresql and PATH)")
	}
	return filepath.Dir(path), nil
}

// A database is a PostgreSQL server with its settings as they come, which listens on a socket in
// a directory of its own, and on no port.
type database struct {
	*process
	dir string
}

const databaseName = "mintmark"

// startPostgres starts a new one on the given cores.
func startPostgres(ctx context.Context, bin, dir string, cores []int) (*database, error) {
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
	data := filepath.Join(dir, "data")
	// Nothing can be lost yet, so initdb does not sync. The server does.
	if out, err := command("initdb", "-D", data, "-U", databaseName, "-E", "UTF8", "--locale=C", "-A", "trust", "-N").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("making a database: %w: %s", err, bytes.TrimSpace(out))
	}
	db := &database{dir: dir}
	server := command("postgres", "-D", data, "-c", "listen_addresses=", "-c", "unix_socket_directories="+dir)
	// SIGINT is its fast shutdown: it waits for no client.
	if db.process, err = startOn(server, "PostgreSQL", filepath.Join(dir, "output"), syscall.SIGINT, cores...); err != nil {
		return nil, err
	}
	for end := time.Now().Add(postgresUp); ; {
		if err = db.create(ctx); err == nil {
			return db, nil
		}
		select {
		case <-db.ended:
		case <-time.After(50 * time.Millisecond):
			if time.Now().Before(end) {
				continue
			}
		}
		return nil, errors.Join(fmt.Errorf("PostgreSQL did not come up: %w", err), db.stop())
	}
}

// create makes the database of the ledger, once the server answers.
func (d *database) create(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, d.url("postgres"))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, "CREATE DATABASE "+databaseName)
	return err
}

func (d *database) url(name string) string {
	u := url.URL{Scheme: "postgres", User: url.User(databaseName), Path: "/" + name, RawQuery: url.Values{"host": {d.dir}}.Encode()}
	return u.String()
}

// cpu is the processor time of the server and of all its processes, those that have ended
// included: each connection has one.
func (d *database) cpu() (time.Duration, error) {
	own, ended, err := cpuTime(d.Process.Pid)
	if err != nil {
		return 0, err
	}
	children, err := childrenOf(d.Process.Pid)
	if err != nil {
		return 0, err
	}
	total := own + ended
	for _, pid := range children {
		if one, _, err := cpuTime(pid); err == nil { // else it has ended just now
			total += one
		}
	}
	return total, nil
}

// childrenOf lists the children of a process that run.
func childrenOf(pid int) (children []int, err error) {
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return nil, err
	}
	for _, path := range lists {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		for _, field := range strings.Fields(string(text)) {
			child, err := strconv.Atoi(field)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", path, err)
			}
			children = append(children, child)
		}
	}
	return children, nil
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
