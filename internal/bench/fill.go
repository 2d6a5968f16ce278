package bench

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"time"

	"mintmark/admin"
	"mintmark/internal/audit"
	"mintmark/internal/keystore"
	"mintmark/internal/ledger"
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

	// mostScale is how many certificates have names of that form.
	mostScale = 10_000_000
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
	if count < 1000 || count > mostScale {
		return nil, fmt.Errorf("a large ledger has between 1000 and %d certificates", mostScale)
	}
	state := filepath.Join(dir, "state-"+scaleName(count))
	note := filepath.Join(state, filledBy)
	text, err := os.ReadFile(note)
	if err == nil {
		f := &filled{}
		if err := json.Unmarshal(text, f); err != nil {
			return nil, fmt.Errorf("%s: %w", note, err)
		}
		f.State = state
		fmt.Fprintf(r.Out, "\nthe ledger of %d certificates in %s is used again\n", f.Certificates, state)
		return f, nil
	}
	if _, serr := os.Stat(state); !errors.Is(err, fs.ErrNotExist) || serr == nil {
		return nil, fmt.Errorf("%s is a ledger that was not filled to its end: remove it", state)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := newState(ctx, state, ""); err != nil {
		return nil, err
	}
	f := &filled{State: state, Certificates: count}
	if err := r.fillState(ctx, f); err != nil {
		return nil, fmt.Errorf("filling a ledger with %d certificates: %w", count, err)
	}
	// A server signs the head of its log every ten minutes. What was written without one has to be read for
	// that, once.
	t, err := r.start(ctx, state)
	if err == nil {
		err = t.stop()
	}
	if err != nil {
		return nil, fmt.Errorf("starting with %d certificates for the first time: %w", count, err)
	}
	if text, err = json.Marshal(f); err != nil {
		return nil, err
	}
	return f, os.WriteFile(note, append(text, '\n'), 0o600)
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
	defer conn.conn.Close()
	if _, err := line.post(conn, body, "", true); err != nil {
		return err
	}
	return t.stop()
}

// A generator makes the enrollments of a large ledger.
type generator struct {
	epoch         ledger.Epoch
	first, renew  *template
	devices       int
	total         int
	serials       []ledger.Serial // of the first certificate of each device
	sample        []string
	key, renewing string
}

// newGenerator reads from the log what was enrolled for real, and opens the key of the CA.
func newGenerator(ctx context.Context, f *filled, cfg sqldb.Config, log *audit.Log) (*generator, error) {
	g := &generator{devices: (f.Certificates + 1) / 2, total: f.Certificates}
	var err error
	var authorities []ledger.Authority
	if g.epoch, authorities, err = open(ctx, cfg); err != nil {
		return nil, err
	}
	signer, err := signerOf(ctx, f.State, authorities)
	if err != nil {
		return nil, err
	}
	intents := map[ledger.Serial]*ledger.Intent{}
	for batch, err := range log.Batches(ledger.Head{}) {
		if err != nil {
			return nil, err
		}
		for _, e := range batch.Events {
			if e.Intent != nil {
				intents[e.Intent.Serial] = e.Intent
			}
			if e.Issued == nil {
				continue
			}
			i := intents[e.Issued.Serial]
			var to **template
			switch {
			case i == nil || i.Purpose != ledger.ForDevice:
				continue
			case i.Requester.Kind == "order":
				to = &g.first
			case i.Requester.Kind == "certificate":
				to = &g.renew
			default:
				continue
			}
			if *to, err = newTemplate(sqldb.Filled{Intent: *i, Issued: *e.Issued}, signer); err != nil {
				return nil, err
			}
		}
	}
	if g.first == nil || g.renew == nil {
		return nil, errors.New("the log has no enrollment or no renewal")
	}
	return g, nil
}

// open joins the ledger as its server does.
func open(ctx context.Context, cfg sqldb.Config) (epoch ledger.Epoch, authorities []ledger.Authority, err error) {
	store, err := sqldb.Open(ctx, cfg)
	if err != nil {
		return epoch, nil, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	now := time.Now()
	if epoch, err = store.Join(ctx, cfg.Server, now, time.Hour); err != nil {
		return epoch, nil, err
	}
	authorities, err = store.Authorities(ctx)
	return epoch, authorities, err
}

// signerOf opens the key of the issuing CA.
func signerOf(ctx context.Context, state string, authorities []ledger.Authority) (crypto.Signer, error) {
	keys, err := keystore.Open(keystore.Config{Dir: state, Passphrase: keystore.PassphraseFile(filepath.Join(state, "secrets", "passphrase"))})
	if err != nil {
		return nil, err
	}
	for _, a := range authorities {
		if a.Name == "issuing" {
			certificate, err := x509.ParseCertificate(a.Certificate)
			if err != nil {
				return nil, err
			}
			return keys.Signer(ctx, a.KeyURI, certificate.PublicKey)
		}
	}
	return nil, errors.New("there is no CA of the name issuing")
}

// all makes the enrollments on a core of its own, some ahead.
func (g *generator) all(ctx context.Context) iter.Seq2[sqldb.Filled, error] {
	type made struct {
		list []sqldb.Filled
		err  error
	}
	ready := make(chan made, 8)
	go func() {
		defer close(ready)
		for from := 0; from < g.total; from += 256 {
			list, err := g.some(from, min(from+256, g.total))
			select {
			case ready <- made{list, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	return func(yield func(sqldb.Filled, error) bool) {
		for m := range ready {
			if m.err != nil {
				yield(sqldb.Filled{}, m.err)
				return
			}
			for _, c := range m.list {
				if !yield(c, nil) {
					return
				}
			}
		}
		if err := ctx.Err(); err != nil {
			yield(sqldb.Filled{}, err)
		}
	}
}

func (g *generator) some(from, to int) (list []sqldb.Filled, err error) {
	for n := from; n < to; n++ {
		var c sqldb.Filled
		// Times are the clock's, so that serial numbers are as a busy server's.
		if now := time.Now(); n < g.devices {
			c, err = g.first.enroll(g.epoch, fmt.Sprintf(lineName, n), "", now)
			g.serials = append(g.serials, c.Intent.Serial)
		} else {
			// A prime that divides no number of devices: each renews once, in another order.
			d := (n - g.devices) * 7_368_787 % g.devices
			c, err = g.renew.enroll(g.epoch, fmt.Sprintf(lineName, d), string(g.serials[d]), now)
			g.renewing = c.Intent.Device
		}
		if err != nil {
			return nil, err
		}
		if n%(g.total/10) == 0 || n == g.total-1 {
			g.sample, g.key = append(g.sample, string(c.Intent.Serial)), fmt.Sprintf("%x", c.Intent.Key)
		}
		list = append(list, c)
	}
	return list, nil
}

// note says what can be asked for in the ledger.
func (g *generator) note(f *filled) {
	f.Serials, f.Key, f.Renewed = g.sample, g.key, g.renewing
}
