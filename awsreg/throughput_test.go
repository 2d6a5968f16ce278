package awsreg_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
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

// refusals counts, out of the simulator's log, the calls that the quotas refused.
// Faults that are injected have another result.
type refusals struct {
	slog.Handler
	count *atomic.Int64
}

func newRefusals() refusals { return refusals{slog.DiscardHandler, new(atomic.Int64)} }

func (r refusals) Enabled(context.Context, slog.Level) bool { return true }

func (r refusals) Handle(_ context.Context, record slog.Record) error {
	record.Attrs(func(a slog.Attr) bool {
		if a.Key == "result" && a.Value.String() == "ThrottlingException" {
			r.count.Add(1)
		}
		return true
	})
	return nil
}

// Each of four faults meets a call with the probability faultRate, so that
// callsEach calls are needed for one that goes well: 1 - (1-faultRate)^4 = 0.2.
// Every call that meets one was counted by its quota before.
const (
	faultRate = 0.0543
	callsEach = 1 / 0.8
)

// throughput is how a registration of n devices went.
type throughput struct {
	n           int
	took, ideal time.Duration
	calls       map[string]int // by operation, refused ones included
	refused     int            // calls, by the quotas
	again       int            // deliveries that failed at first
}

func (r throughput) ratio() float64 { return r.took.Seconds() / r.ideal.Seconds() }

// faults says what is wrong with it: too slow, more calls than the faults explain,
// or calls that AWS refused because they came too fast. Faster than ideal would be
// wrong in the measure.
func (r throughput) faults() []string {
	var list []string
	if ratio := r.ratio(); ratio > 1.1 || ratio < 0.98 {
		list = append(list, fmt.Sprintf("it took %.3f of the ideal time, %v", ratio, r.ideal))
	}
	all := 0
	for operation, count := range r.calls {
		if most := float64(r.n) * callsEach * 1.05; float64(count) > most {
			list = append(list, fmt.Sprintf("%d calls of %s, the faults explain %.0f", count, operation, most))
		}
		all += count
	}
	if r.refused > all/200 {
		list = append(list, fmt.Sprintf("the quotas refused %d of %d calls", r.refused, all))
	}
	return list
}

// registerAll registers n devices through a simulator that has AWS's quotas, 60 ms
// away, where every fifth call goes wrong in one of four ways. scale is what the
// registrar believes its quotas to be raised by; the simulator's are not. It runs
// in a bubble.
//
// Ideal is what nobody can beat, whatever calls they make: each device needs one
// call that goes well of each of five operations, which is callsEach calls of each
// on average; the slowest of them has the smallest quota, of which its bucket gives
// the burst at once and the rest at its rate.
func registerAll(t *testing.T, n int, scale float64) throughput {
	t.Helper()
	refused := newRefusals()
	f := newFactory(t, n, 60*time.Millisecond, func(c *awssim.Config) {
		c.Quotas, c.Logger = &awssim.Quotas{}, slog.New(refused)
	})
	f.target.QuotaScale = scale
	begun, before := len(f.sim.Calls()), refused.count.Load()
	for i, fault := range []awssim.Fault{
		{Code: "ThrottlingException"}, {Code: "InternalFailureException", Status: 500}, {Cut: true}, {Cut: true, AfterEffect: true},
	} {
		fault.Rate, fault.Seed = faultRate, uint64(i)
		f.sim.Inject(fault)
	}
	start := time.Now()
	again := f.deliverAll(t, f.tasks)
	r := throughput{n: n, took: time.Since(start), again: again, calls: make(map[string]int)}
	f.sim.ClearFaults()
	r.refused = int(refused.count.Load() - before)
	for _, operation := range f.sim.Calls()[begun:] {
		r.calls[operation]++
	}
	for _, operation := range []string{"RegisterCertificate", "CreateThing", "AddThingToThingGroup", "AttachPolicy", "AttachThingPrincipal"} {
		quota, limited := awssim.DefaultQuotas()[operation]
		if !limited {
			continue
		}
		if quota.Burst == 0 {
			quota.Burst = int(quota.PerSecond)
		}
		seconds := (float64(n)*callsEach - float64(quota.Burst)) / quota.PerSecond
		r.ideal = max(r.ideal, time.Duration(seconds*float64(time.Second)))
	}
	f.once(t, n)
	return r
}

// TestThousandsOfRegistrations: each device is registered exactly once, in at most
// 1.1 of the ideal time. Time is virtual, so that the figures are those of a
// machine without load, and the quotas are AWS's and need not be scaled.
//
// 8,000 devices take 17 minutes of that time: all but the first ten seconds wait for the same quota,
// and what start and end cost weighs more than with the 10,000 of make scale, which
// take 20 minutes of it. With 4,000 it is 1.07 to 1.10, with 8,000 1.06 to 1.09.
//
// A batch ends with its last device, and that may be one that the faults meet eight times in a row, with a
// pause of 45 s in all. A second round tells luck from a fault.
func TestThousandsOfRegistrations(t *testing.T) {
	n := 8000
	switch {
	case os.Getenv("MINTMARK_LONG") != "":
		n = 10000
	case testing.Short():
		n = 1000
	}
	var faults []string
	for range 2 {
		synctest.Test(t, func(t *testing.T) {
			r := registerAll(t, n, 1)
			t.Logf("%d devices in %v: ideal %v, ratio %.3f; %d calls refused by the quotas, %d deliveries again; calls %v",
				n, r.took.Round(time.Second), r.ideal.Round(time.Second), r.ratio(), r.refused, r.again, r.calls)
			faults = r.faults()
			if fewest := float64(n) * callsEach * 0.95; float64(r.calls["RegisterCertificate"]) < fewest {
				t.Errorf("%d calls, less than %.0f: were there faults?", r.calls["RegisterCertificate"], fewest)
			}
		})
		if len(faults) == 0 {
			return
		}
	}
	for _, fault := range faults {
		t.Error(fault)
	}
}

// TestThroughputTooFast: a registrar that believes in quotas which are not there is
// refused, and does not pass for a good one. It registers each device once all the
// same.
func TestThroughputTooFast(t *testing.T) {
	for _, scale := range []float64{3, 10} {
		t.Run(fmt.Sprint(scale), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := registerAll(t, 300, scale)
				faults := strings.Join(r.faults(), "; ")
				t.Logf("ratio %.3f, %d refused: %s", r.ratio(), r.refused, faults)
				if !strings.Contains(faults, "the quotas refused") || !strings.Contains(faults, "calls of RegisterCertificate") {
					t.Errorf("only %q is wrong with it", faults)
				}
			})
		})
	}
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
