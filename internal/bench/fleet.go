package bench

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// fleet is the devices that make the load.
type fleet struct {
	address string
	path    string // of simpleenroll
	prefix  string // of names, another one for each fleet: devices stay in a ledger that is kept
	roots   *x509.CertPool
	basic   string // Authorization header of the bootstrap credential
	devices []*device
}

// device renews its own certificate with a new key each time, as devices do.
type device struct {
	name string
	tls  *tls.Config
}

func newFleet(state, address string) (*fleet, error) {
	f := &fleet{address: address, path: "/.well-known/est/simpleenroll", prefix: "bench-" + strings.ToLower(rand.Text()[:6]), roots: x509.NewCertPool()}
	root, err := os.ReadFile(filepath.Join(state, "root.pem"))
	if err != nil {
		return nil, err
	}
	f.roots.AppendCertsFromPEM(root)
	credential, err := os.ReadFile(filepath.Join(state, "secrets", "enroll"))
	if err != nil {
		return nil, err
	}
	f.basic = "Basic " + base64.StdEncoding.EncodeToString(bytes.TrimSpace(credential))
	return f, nil
}

// enroll gives each device its first certificate.
func (f *fleet) enroll(ctx context.Context, n int) error {
	for i := range n {
		d, err := f.enrollOne(ctx, fmt.Sprintf("%s-%03d", f.prefix, i))
		if err != nil {
			return err
		}
		f.devices = append(f.devices, d)
	}
	return nil
}

func (f *fleet) enrollOne(ctx context.Context, name string) (*device, error) {
	key, body, err := request(name)
	if err != nil {
		return nil, err
	}
	conn, err := f.dial(ctx, &tls.Config{RootCAs: f.roots, ServerName: "localhost"})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	answer, err := f.post(conn, body, f.basic, true)
	if err != nil {
		return nil, err
	}
	certificate, err := decode(answer)
	if err != nil {
		return nil, err
	}
	return &device{name: name, tls: &tls.Config{
		RootCAs: f.roots, ServerName: "localhost", SessionTicketsDisabled: true,
		Certificates: []tls.Certificate{{Certificate: [][]byte{certificate.Raw}, PrivateKey: key, Leaf: certificate}},
	}}, nil
}

// exchange sets the groups that the devices offer for the key exchange; nil for Go's choice.
func (f *fleet) exchange(groups []tls.CurveID) {
	for _, d := range f.devices {
		d.tls.CurvePreferences = groups
	}
}

// request makes a key and the body of an enrollment for it.
func request(name string) (*ecdsa.PrivateKey, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}}, key)
	if err != nil {
		return nil, nil, err
	}
	return key, []byte(base64.StdEncoding.EncodeToString(csr)), nil
}

// result is what one load measured.
type result struct {
	count      int
	rate       float64
	p50, p99   time.Duration
	handshakes int64
}

// requests makes the bodies of enrollments before a clock starts, each with a key of its own:
// a repeated key would get the earlier certificate back.
func (f *fleet) requests(ctx context.Context, clients, perClient int) ([][][]byte, error) {
	bodies := make([][][]byte, clients)
	for i := range bodies {
		for range perClient {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			_, body, err := request(f.devices[i].name)
			if err != nil {
				return nil, err
			}
			bodies[i] = append(bodies[i], body)
		}
	}
	return bodies, nil
}

// run lets the devices enroll in closed loops.
func (f *fleet) run(ctx context.Context, clients int, keepAlive bool, requests int, duration time.Duration) (result, error) {
	bodies, err := f.requests(ctx, clients, requests/clients+1)
	if err != nil {
		return result{}, err
	}
	load, cancel := context.WithTimeout(ctx, duration)
	defer cancel()
	r, err := measure(clients, func(i int, handshakes *atomic.Int64) ([]time.Duration, error) {
		latencies, err := f.loop(load, f.devices[i], bodies[i], keepAlive, handshakes)
		cancel() // all of them stop with the first that has nothing left to ask for
		return latencies, err
	})
	// Cut off, it is no measurement.
	return r, cmp.Or(err, ctx.Err())
}

// errNothing is a load without an answer.
var errNothing = errors.New("nothing was answered in the time")

// measure runs the clients and gathers how long each of their requests took.
func measure(clients int, client func(i int, handshakes *atomic.Int64) ([]time.Duration, error)) (result, error) {
	var (
		wait       sync.WaitGroup
		mu         sync.Mutex
		latencies  []time.Duration
		errs       []error
		handshakes atomic.Int64
	)
	start := time.Now()
	for i := range clients {
		wait.Go(func() {
			own, err := client(i, &handshakes)
			mu.Lock()
			defer mu.Unlock()
			latencies = append(latencies, own...)
			if err != nil {
				errs = append(errs, err)
			}
		})
	}
	wait.Wait()
	elapsed := time.Since(start)
	if len(errs) > 0 {
		return result{}, fmt.Errorf("%d of %d clients failed, the first: %w", len(errs), clients, errs[0])
	}
	if len(latencies) == 0 {
		return result{}, errNothing
	}
	slices.Sort(latencies)
	n := len(latencies)
	return result{
		// The least time that half of the requests, and 99 of 100, did not take longer than.
		count: n, rate: float64(n) / elapsed.Seconds(), p50: latencies[(n+1)/2-1], p99: latencies[(n*99+99)/100-1], handshakes: handshakes.Load(),
	}, nil
}

// loop enrolls until ctx ends or the requests run out. One answer in 64 is
// looked at: the load shares the machine with what it measures.
func (f *fleet) loop(ctx context.Context, d *device, bodies [][]byte, keepAlive bool, handshakes *atomic.Int64) ([]time.Duration, error) {
	var latencies []time.Duration
	var conn *connection
	defer func() {
		if conn != nil {
			conn.Close()
		}
	}()
	for i, body := range bodies {
		if ctx.Err() != nil {
			return latencies, nil
		}
		start := time.Now()
		if conn == nil {
			var err error
			if conn, err = f.dial(context.WithoutCancel(ctx), d.tls); err != nil {
				return nil, err
			}
			if conn.ConnectionState().DidResume {
				return nil, errors.New("a session was resumed")
			}
			handshakes.Add(1)
		}
		answer, err := f.post(conn, body, "", keepAlive)
		if err != nil {
			return nil, err
		}
		latencies = append(latencies, time.Since(start))
		if !keepAlive {
			conn.Close()
			conn = nil
		}
		if i%64 == 0 {
			if err := d.check(body, answer); err != nil {
				return nil, err
			}
		}
	}
	return latencies, nil
}

// check looks at an answer: it is to be a new certificate, for the device and for the key that the
// request has.
func (d *device) check(body, answer []byte) error {
	certificate, err := decode(answer)
	if err != nil {
		return err
	}
	if certificate.Subject.CommonName != d.name {
		return fmt.Errorf("device %s got a certificate for %s", d.name, certificate.Subject.CommonName)
	}
	der, err := base64.StdEncoding.DecodeString(string(body))
	if err != nil {
		return err
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return err
	}
	if !bytes.Equal(csr.RawSubjectPublicKeyInfo, certificate.RawSubjectPublicKeyInfo) {
		return fmt.Errorf("device %s got a certificate for another key than it asked for", d.name)
	}
	return nil
}
