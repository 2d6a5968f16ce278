package sqldb

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"mintmark/internal/ledger"
)

// An op is one caller's write. Many share a transaction.
type op struct {
	// run executes the op's statements. A *storageError ends the transaction;
	// any other error is the op's own refusal, made before it wrote anything.
	// run may be called again after a rollback and then begins anew.
	run func(*tx) error
	// locks names what the op decides about, as in "device:ID": see shared.go.
	locks []string
	// intents are those that the op begins: see ahead.go.
	intents []ledger.Intent
	// items says how much of a batch the op fills.
	items int
	// issuance is set for Begin and Finish, which Announce counts.
	issuance bool
	// unheard is called, if set, when the write is durable but its caller has
	// left.
	unheard func()
	// orphans lists the serials to be voided if the op fails with an unknown
	// outcome.
	orphans func() [][]byte

	err     error
	events  int // in the batch, up to and with those of the op
	done    chan struct{}
	settled atomic.Bool // by the caller leaving or the committer delivering
}

// A queue gathers ops into batches. A batch closes when every announced
// request waits in it: whoever commits earlier makes the others pay for a
// commit of their own, whoever commits later wastes time.
//
// On a busy core that alone is not enough: the requests that have not been
// read from their connections yet are not announced, and the first to come
// would commit alone. So a batch also waits for as many as the last ones held,
// until none has come for the time of linger; and once in a while a batch
// waits for that pause in any case, to find out whether more would come.
//
// While the processors have time to spare no batch waits longer than two commits
// take: by waiting it saves a commit that nobody lacks, at a price that would be most of what
// its requests take.
type queue struct {
	linger  time.Duration
	longest time.Duration
	busy    func() bool   // whether the processors are; called with mu held
	commit  time.Duration // what the last commits took
	most    int

	mu        sync.Mutex
	ops       []*op
	items     int
	waiting   int // ops of announced requests
	announced int
	expected  int       // issuance ops that a batch waits for
	batches   int       // since the last probe
	first     time.Time // when the oldest op came
	last      time.Time // when the newest op came
	refuse    error     // why nothing is taken now
	closed    bool
	wake      chan struct{}
}

func newQueue(linger time.Duration, most int, busy func() bool) *queue {
	return &queue{linger: linger, longest: 10 * linger, most: most, busy: busy, wake: make(chan struct{}, 1)}
}

// probeEvery is how many batches of more than one pass between two that wait
// for more than they expect.
const probeEvery = 32

// announce counts a request in flight.
func (q *queue) announce() (done func()) {
	q.mu.Lock()
	q.announced++
	q.last = time.Now()
	q.mu.Unlock()
	var once sync.Once
	return func() {
		once.Do(func() {
			q.mu.Lock()
			q.announced--
			ready := q.ready()
			q.mu.Unlock()
			if ready {
				q.nudge()
			}
		})
	}
}

// add enqueues an op, or says why not.
func (q *queue) add(o *op) error {
	now := time.Now()
	q.mu.Lock()
	if q.refuse != nil {
		defer q.mu.Unlock()
		return q.refuse
	}
	if len(q.ops) == 0 {
		q.first = now
	}
	q.last = now
	q.ops = append(q.ops, o)
	q.items += o.items
	if o.issuance {
		q.waiting++
	}
	nudge := len(q.ops) == 1 || q.ready()
	q.mu.Unlock()
	if nudge {
		q.nudge()
	}
	return nil
}

func (q *queue) nudge() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// ready reports whether the batch is to be committed without waiting longer.
func (q *queue) ready() bool {
	if len(q.ops) == 0 {
		return false
	}
	if q.items >= q.most || q.closed {
		return true
	}
	if q.waiting < q.announced {
		return false
	}
	return q.announced == 0 || q.waiting >= q.expected && (q.expected <= 1 || q.batches < probeEvery)
}

// take waits for a batch. It returns nil when the queue is closed and empty.
func (q *queue) take() []*op {
	var timer *time.Timer
	defer func() {
		if timer != nil {
			timer.Stop()
		}
	}()
	for {
		ops, wait, closed := q.cut()
		if ops != nil || closed {
			return ops
		}
		var expired <-chan time.Time
		if wait > 0 {
			if timer == nil {
				timer = time.NewTimer(wait)
			} else {
				timer.Reset(wait)
			}
			expired = timer.C
		}
		select {
		case <-q.wake:
		case <-expired:
		}
	}
}

// cut takes the batch if its time has come; else it says how long to wait for
// others, 0 for until the first op.
func (q *queue) cut() (ops []*op, wait time.Duration, closed bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.ops) == 0 {
		return nil, 0, q.closed
	}
	if !q.ready() {
		// Requests that are on their way come one after another: the batch
		// waits for the next one, not for all.
		now, longest := time.Now(), q.longest
		if !q.busy() {
			longest = min(longest, 2*q.commit)
		}
		wait = min(q.linger-now.Sub(q.last), longest-now.Sub(q.first))
		if wait > 0 {
			return nil, wait, false
		}
		q.expected, q.batches = 0, 0
	}
	q.batches++
	q.expected = max(q.expected, q.waiting)
	return q.batch(), 0, false
}

// took tells how long a commit took.
func (q *queue) took(d time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.commit = (3*q.commit + d) / 4
}

// batch hands out the oldest ops up to the size of a batch.
func (q *queue) batch() []*op {
	n, items, issuance := 0, 0, 0
	for n < len(q.ops) && (n == 0 || items < q.most) {
		items += q.ops[n].items
		if q.ops[n].issuance {
			issuance++
		}
		n++
	}
	if n == len(q.ops) {
		return q.empty()
	}
	ops := q.ops[:n:n]
	q.ops = append(make([]*op, 0, 2*(len(q.ops)-n)), q.ops[n:]...)
	q.items -= items
	q.waiting -= issuance
	return ops
}

// empty hands out all ops.
func (q *queue) empty() []*op {
	ops := q.ops
	q.ops, q.items, q.waiting = make([]*op, 0, len(ops)), 0, 0
	return ops
}

// shut makes add refuse and returns what had been waiting.
func (q *queue) shut(why error) []*op {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.refuse = why
	return q.empty()
}

// admit takes ops again.
func (q *queue) admit() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.closed {
		q.refuse = nil
	}
}

// close refuses new ops and lets take drain the rest.
func (q *queue) close(why error) {
	q.mu.Lock()
	q.closed, q.refuse = true, why
	q.mu.Unlock()
	q.nudge()
}

// await waits for the op's end. If ctx ends first the write goes on without
// its caller.
func (o *op) await(ctx context.Context) error {
	select {
	case <-o.done:
		return o.err
	default:
	}
	select {
	case <-o.done:
		return o.err
	case <-ctx.Done():
		if o.settled.CompareAndSwap(false, true) {
			return fmt.Errorf("waiting for the ledger: %w", context.Cause(ctx))
		}
		<-o.done
		return o.err
	}
}

// deliver ends the op.
func (o *op) deliver(err error) {
	if !o.settled.CompareAndSwap(false, true) {
		if err == nil && o.unheard != nil {
			o.unheard()
		}
		return
	}
	o.err = err
	close(o.done)
}
