package bench

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"iter"
	"path/filepath"
	"time"

	"mintmark/internal/audit"
	"mintmark/internal/keystore"
	"mintmark/internal/ledger"
	"mintmark/internal/ledger/sqldb"
)

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
	if g.epoch, authorities, err = join(ctx, cfg); err != nil {
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

// join joins the ledger as its server does.
func join(ctx context.Context, cfg sqldb.Config) (epoch ledger.Epoch, authorities []ledger.Authority, err error) {
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
