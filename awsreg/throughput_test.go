package awsreg_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iot"

	"mintmark/awsreg"
	"mintmark/awsreg/awssim"
	"mintmark/internal/ledger"
)

// memory is a network in memory, so that what uses it can run on virtual time.
type memory struct {
	mu        sync.Mutex
	listeners map[string]*memoryListener
}

type memoryListener struct {
	address string
	conns   chan net.Conn
	closed  chan struct{}
	once    sync.Once
}

func (m *memory) listen(_, address string) (net.Listener, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := &memoryListener{address: address, conns: make(chan net.Conn), closed: make(chan struct{})}
	if m.listeners == nil {
		m.listeners = make(map[string]*memoryListener)
	}
	m.listeners[address] = l
	return l, nil
}

func (m *memory) dial(ctx context.Context, _, address string) (net.Conn, error) {
	m.mu.Lock()
	l := m.listeners[address]
	m.mu.Unlock()
	if l == nil {
		return nil, fmt.Errorf("nobody listens on %s", address)
	}
	here, there := net.Pipe()
	select {
	case l.conns <- there:
		return here, nil
	case <-l.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *memoryListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *memoryListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *memoryListener) Addr() net.Addr  { return l }
func (l *memoryListener) Network() string { return "memory" }
func (l *memoryListener) String() string  { return l.address }

// distant is an HTTP client that is some latency away.
type distant struct {
	client  *http.Client
	latency time.Duration
}

func (d distant) Do(r *http.Request) (*http.Response, error) {
	time.Sleep(d.latency) // of the bubble's time
	return d.client.Do(r)
}

// shelf is the part of a ledger that registering devices reads, with certificates
// that are all in force.
type shelf struct {
	awsreg.Records // nil: nothing else is read
	certificates   map[ledger.Serial]ledger.Certificate
}

func (s shelf) Certificate(_ context.Context, serial ledger.Serial) (ledger.Certificate, error) {
	if c, ok := s.certificates[serial]; ok {
		return c, nil
	}
	return ledger.Certificate{}, ledger.ErrNotFound
}

func (s shelf) Device(context.Context, string) (ledger.Device, error) {
	return ledger.Device{State: ledger.Enrolled}, nil
}

// factory is what registers n devices: a simulator, a registrar, and the tasks.
type factory struct {
	*world
	target    awsreg.Target
	registrar *awsreg.Registrar
	tasks     []ledger.Task
	transport *http.Transport
}

// newFactory makes one whose simulator is some latency away. The CA, type, group
// and policy are there.
func newFactory(t testing.TB, n int, latency time.Duration, change ...func(*awssim.Config)) *factory {
	t.Helper()
	var network memory
	change = append(change, func(c *awssim.Config) {
		c.Listen, c.Control, c.Broker = network.listen, "127.0.0.1:4566", "127.0.0.1:8883"
	})
	w := newWorld(t, change...)
	f := &factory{world: w, transport: &http.Transport{DialContext: network.dial, MaxIdleConnsPerHost: 100}}
	t.Cleanup(f.transport.CloseIdleConnections)
	w.http.client = &http.Client{Transport: f.transport}
	w.issuers = map[string]*authority{"press": newAuthority(t, "press")}
	f.target = awsreg.Target{
		Name: "line-a", AccountID: first.ID, Region: region, Endpoint: w.sim.ControlURL(),
		CAs: []awsreg.CA{{Issuer: "press", Mode: awsreg.ModeDefault, Use: awsreg.UseRegister, Register: &awsreg.Register{
			Policy: "press", ThingType: "press", Groups: []string{"hall-2"},
		}}},
	}
	if _, err := w.registrar(first).Apply(t.Context(), f.target, nil); err != nil {
		t.Fatal(err)
	}
	records := shelf{certificates: make(map[ledger.Serial]ledger.Certificate, n)}
	a, key := w.issuers["press"], newKey(t)
	for i := range n {
		device := fmt.Sprintf("press-%05d", i)
		record := a.deviceWith(t, device, key)
		records.certificates[record.Serial] = record
		f.tasks = append(f.tasks, awsreg.TasksFor([]awsreg.Target{f.target}, record)...)
	}
	var err error
	f.registrar, err = awsreg.New(awsreg.Config{
		Issuer:      func(_ context.Context, name string) (awsreg.Issuer, error) { return w.issuers[name].Issuer, nil },
		Records:     records,
		Credentials: credentials.NewStaticCredentialsProvider(first.AccessKeyID, first.SecretAccessKey, ""),
		HTTPClient:  distant{&http.Client{Transport: f.transport}, latency},
	})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// deliverAll delivers the tasks as the outbox does: batch after batch, and what
// failed again. It returns how many failed at first.
func (f *factory) deliverAll(t *testing.T, tasks []ledger.Task) int {
	t.Helper()
	failures := 0
	for len(tasks) > 0 {
		n := min(len(tasks), awsreg.BatchSize)
		again := tasks[n:]
		for i, err := range f.registrar.Deliver(t.Context(), f.target, tasks[:n]) {
			if err != nil {
				failures++
				t.Logf("to be delivered again: %v", err)
				again = append(again[:len(again):len(again)], tasks[i])
			}
		}
		if failures > len(f.tasks)/10 {
			t.Fatal("too many deliveries fail")
		}
		tasks = again
	}
	return failures
}

// once checks that each device is there exactly once, complete, and nothing else.
func (f *factory) once(t *testing.T, n int) {
	t.Helper()
	var state struct {
		Certificates map[string]struct {
			Status   string
			Policies []string
		}
		Things map[string]struct {
			Type       string
			Principals map[string]any
		}
	}
	data, err := f.sim.State(first.ID, region)
	if err == nil {
		err = json.Unmarshal(data, &state)
	}
	if err != nil {
		t.Fatal(err)
	}
	if len(state.Certificates) != n || len(state.Things) != n {
		t.Errorf("%d certificates and %d things, want %d", len(state.Certificates), len(state.Things), n)
	}
	attached := make(map[string]bool)
	for name, thing := range state.Things {
		if thing.Type != "press" || len(thing.Principals) != 1 {
			t.Fatalf("thing %s: %+v", name, thing)
		}
		for id := range thing.Principals {
			attached[id] = true
		}
	}
	for _, task := range f.tasks {
		c, there := state.Certificates[task.Key]
		if !there || !attached[task.Key] || c.Status != "ACTIVE" || len(c.Policies) != 1 || c.Policies[0] != "press" {
			t.Fatalf("certificate %s: %+v", task.Key, c)
		}
	}
	in := &iot.ListThingsInThingGroupInput{ThingGroupName: aws.String("hall-2"), MaxResults: aws.Int32(250)}
	for left := n; ; {
		out, err := f.iotClient().ListThingsInThingGroup(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		left -= len(out.Things)
		if in.NextToken = out.NextToken; aws.ToString(out.NextToken) == "" {
			if left != 0 {
				t.Errorf("%d things are not in the group", left)
			}
			return
		}
	}
}

// iotClient is an operator's own client on the network in memory.
func (f *factory) iotClient() *iot.Client {
	return iot.New(iot.Options{
		Region: region, BaseEndpoint: aws.String(f.sim.ControlURL()), Retryer: aws.NopRetryer{}, HTTPClient: &http.Client{Transport: f.transport},
		Credentials: credentials.NewStaticCredentialsProvider(first.AccessKeyID, first.SecretAccessKey, ""),
	})
}

// TestTenThousandRegistrations registers devices through a simulator that has
// AWS's quotas, 60 ms away, where every fifth call goes wrong in one of four ways.
// Time is virtual, so that the figures are those of a machine without load.
//
// Ideal is the time that the bottleneck takes at its full quota: the calls of the
// operation with the most of them for its quota, those included that a fault
// consumed, each of which AWS counts.
func TestTenThousandRegistrations(t *testing.T) {
	n := 10000
	if testing.Short() {
		n = 1000
	}
	synctest.Test(t, func(t *testing.T) {
		f := newFactory(t, n, 60*time.Millisecond, func(c *awssim.Config) { c.Quotas = &awssim.Quotas{} })
		begun := len(f.sim.Calls())
		// 1 - (1-p)^4 = 0.2
		const p = 0.0543
		for i, fault := range []awssim.Fault{
			{Code: "ThrottlingException"}, {Code: "InternalFailureException", Status: 500}, {Cut: true}, {Cut: true, AfterEffect: true},
		} {
			fault.Rate, fault.Seed = p, uint64(i)
			f.sim.Inject(fault)
		}
		start := time.Now()
		failures := f.deliverAll(t, f.tasks)
		took := time.Since(start)
		f.sim.ClearFaults()

		calls := make(map[string]int)
		for _, operation := range f.sim.Calls()[begun:] {
			calls[operation]++
		}
		quotas := awssim.DefaultQuotas()
		var ideal time.Duration
		var bottleneck string
		for operation, count := range calls {
			quota, limited := quotas[operation]
			if !limited {
				continue
			}
			if d := time.Duration(float64(count) / quota.PerSecond * float64(time.Second)); d > ideal {
				ideal, bottleneck = d, operation
			}
		}
		ratio := took.Seconds() / ideal.Seconds()
		t.Logf("%d devices in %v: ideal %v (%d calls of %s), ratio %.3f; %d deliveries again; calls %v",
			n, took.Round(time.Second), ideal.Round(time.Second), calls[bottleneck], bottleneck, ratio, failures, calls)
		if bottleneck != "RegisterCertificate" {
			t.Errorf("the bottleneck is %s", bottleneck)
		}
		if ratio > 1.1 {
			t.Errorf("took %.3f of the ideal time", ratio)
		}
		if calls["RegisterCertificate"] < n*115/100 {
			t.Errorf("%d calls: were there faults?", calls["RegisterCertificate"])
		}
		f.once(t, n)
	})
}

// BenchmarkRegistration is what one registration costs this machine, the
// simulator's part included: five calls to it. Time is not virtual, and nothing is
// throttled or fails.
func BenchmarkRegistration(b *testing.B) {
	f := newFactory(b, b.N, 0)
	f.target.QuotaScale = 1e6
	b.ReportAllocs()
	b.ResetTimer()
	before := processorTime(b)
	for tasks := f.tasks; len(tasks) > 0; {
		n := min(len(tasks), awsreg.BatchSize)
		for _, err := range f.registrar.Deliver(b.Context(), f.target, tasks[:n]) {
			if err != nil {
				b.Fatal(err)
			}
		}
		tasks = tasks[n:]
	}
	b.ReportMetric(float64((processorTime(b)-before).Microseconds())/float64(b.N), "cpu-µs/op")
}

// processorTime is what the process has used of all cores.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
