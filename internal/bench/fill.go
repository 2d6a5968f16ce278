package bench

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"mintmark/admin"
	"mintmark/internal/audit"
	"mintmark/internal/ledger/sqldb"
	"mintmark/internal/server"
)

// A large ledger is filled with devices that are enrolled by a line under a work order, in the
// order of their names, and then renew, in another order.
const (
	lineLabel = "line"
	lineOrder = "WO-1"
	lineName  = "SN%07d"
	filledBy  = "filled.json" // says that a ledger is, and how many certificates it has
)

// filled is a large ledger.
type filled struct {
	State        string `json:"-"`
	Certificates int    `json:"certificates"`
	// Bytes are of the database and of the log when it was full.
	Database int64 `json:"database_bytes"`
	Log      int64 `json:"log_bytes"`
	// Serials are of some of the certificates, the first and the last among them.
	Serials []string `json:"serials"`
	Key     string   `json:"key"`     // of one of them
	Renewed string   `json:"renewed"` // one that has renewed
}

// fill makes a state directory with a large ledger, or finds the one that an earlier run has
// made there.
func (r *run) fill(ctx context.Context, dir string, count int) (*filled, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := sayIfInMemory(r.Out, dir); err != nil {
		return nil, err
	}
	f := &filled{State: filepath.Join(dir, "state-"+scaleName(count)), Certificates: count}
	note := filepath.Join(f.State, filledBy)
	text, err := os.ReadFile(note)
	if err == nil {
		if err := json.Unmarshal(text, f); err != nil {
			return nil, fmt.Errorf("%s: %w", note, err)
		}
		fmt.Fprintf(r.Out, "\nthe ledger of %d certificates in %s is used again\n", f.Certificates, f.State)
		return f, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if _, err := os.Stat(f.State); !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is a ledger that was not filled to its end: remove it", f.State)
	}
	if err := r.fillNew(ctx, f, note); err != nil {
		// What is not full is of no use, and takes gigabytes.
		return nil, errors.Join(fmt.Errorf("filling a ledger with %d certificates: %w", count, err), os.RemoveAll(f.State))
	}
	return f, nil
}

// fillNew makes the state directory, and at last the note.
func (r *run) fillNew(ctx context.Context, f *filled, note string) error {
	if err := newState(ctx, f.State, ""); err != nil {
		return err
	}
	if err := r.fillState(ctx, f); err != nil {
		return err
	}
	// A server signs the head of its log every ten minutes. What was written without one has to be read for
	// that, once.
	t, err := r.start(ctx, f.State)
	if err == nil {
		err = t.stop()
	}
	if err != nil {
		return fmt.Errorf("starting for the first time: %w", err)
	}
	text, err := json.Marshal(f)
	if err != nil {
		return err
	}
	return os.WriteFile(note, append(text, '\n'), 0o600)
}

func (r *run) fillState(ctx context.Context, f *filled) error {
	fmt.Fprintf(r.Out, "\nfilling a ledger with %d certificates\n", f.Certificates)
	start := time.Now()
	if err := r.enrollForReal(ctx, f); err != nil {
		return err
	}
	if err := bindProcess(r.cores...); err != nil {
		return err
	}
	defer bindProcess(r.loadCore)
	log, err := audit.Open(filepath.Join(f.State, "log"), audit.Config{Server: "mintmark"})
	if err != nil {
		return err
	}
	defer log.Close()
	cfg := sqldb.Config{Path: filepath.Join(f.State, "ledger.db"), Log: log, Server: "mintmark"}
	g, err := newGenerator(ctx, f, cfg, log)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// The disk never holds all of the log as it is written.
	packed := make(chan error, 1)
	go func() { packed <- packAlong(ctx, log) }()
	shown := 0
	err = sqldb.Fill(ctx, cfg, g.all(ctx), func(n int) {
		if tenth := n * 10 / f.Certificates; tenth > shown {
			shown = tenth
			fmt.Fprintf(r.Out, "%9d  %.0f a second\n", n, float64(n)/time.Since(start).Seconds())
		}
	})
	cancel()
	if err = errors.Join(err, <-packed); err != nil {
		return err
	}
	if err := log.Pack(context.WithoutCancel(ctx), 0); err != nil {
		return err
	}
	g.note(f)
	if f.Database, err = sizeOf(filepath.Join(f.State, "ledger.db*")); err != nil {
		return err
	}
	f.Log, err = sizeOf(filepath.Join(f.State, "log", "*"))
	return err
}

// packAlong packs full files of the log until ctx ends.
func packAlong(ctx context.Context, log *audit.Log) error {
	for {
		err := log.Pack(ctx, 0)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Second):
		}
	}
}

func sizeOf(pattern string) (sum int64, err error) {
	names, err := filepath.Glob(pattern)
	for _, name := range names {
		info, serr := os.Stat(name)
		if serr != nil {
			return 0, serr
		}
		sum += info.Size()
	}
	return sum, err
}

// enrollForReal has the server make the work order, enroll a device under it and renew its
// certificate: what the others are made of.
func (r *run) enrollForReal(ctx context.Context, f *filled) error {
	t, err := r.start(ctx, f.State)
	if err != nil {
		return err
	}
	defer t.stop()
	client, err := admin.Dial(filepath.Join(f.State, server.Socket))
	if err != nil {
		return err
	}
	defer client.Close()
	order, err := client.CreateOrder(ctx, admin.OrderSpec{
		ID: lineOrder, Label: lineLabel, Quantity: f.Certificates + 1, NotAfter: time.Now().AddDate(1, 0, 0),
		Ranges: []admin.Range{{First: fmt.Sprintf(lineName, 0), Last: fmt.Sprintf(lineName, mostScale-1)}},
	})
	if err != nil {
		return err
	}
	line, err := newFleet(f.State, t.est)
	if err != nil {
		return err
	}
	line.path = "/.well-known/est/" + lineLabel + "/simpleenroll"
	line.basic = "Basic " + base64.StdEncoding.EncodeToString([]byte(lineOrder+":"+order.Secret))
	d, err := line.enrollOne(ctx, fmt.Sprintf(lineName, mostScale-1))
	if err != nil {
		return err
	}
	_, body, err := request(d.name)
	if err != nil {
		return err
	}
	conn, err := line.dial(ctx, d.tls)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := line.post(conn, body, "", true); err != nil {
		return err
	}
	return t.stop()
}
