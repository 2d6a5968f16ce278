package ocsp

import (
	"container/list"
	"sync"
	"time"

	"mintmark/internal/ledger"
)

const (
	// maxKept bounds the memory of kept answers, in bytes.
	maxKept = 64 << 20
	// keptOverhead is what one takes beside its own bytes.
	keptOverhead = 512
)

// kept is a signed answer about one certificate. Only its last field changes,
// under the lock of the cache.
type kept struct {
	issuer      string // name of the authority
	id          certID
	status      certStatus
	head        []byte
	signer      *delegate
	from, until time.Time // thisUpdate, nextUpdate
	etag        string
	modified    string // of the header Last-Modified
	asked       time.Time
}

func (k *kept) size() int64 { return int64(len(k.head) + 2*len(k.id.raw) + keptOverhead) }

// fresh reports whether it may be given out.
func (k *kept) fresh(now time.Time) bool { return !now.Before(k.from) && now.Before(k.until) }

// question is what answers are kept by: the same certificate asked for by another
// hash is another question.
type question struct{ issuer, id string }

// signing is an answer in the making. Everybody who asks for it meanwhile gets it.
type signing struct {
	question question
	serial   ledger.Serial
	watched  bool // changes were being listed when it began
	stale    bool // its certificate has changed since it began
	done     chan struct{}
	answer   *kept
	err      error
}

// cache holds the answers that were asked for last.
type cache struct {
	mu       sync.Mutex
	most     int
	bytes    int64
	watching bool // changes are listed, so that what is kept can be dropped in time
	answers  map[question]*list.Element
	serials  map[ledger.Serial][]*list.Element
	recent   *list.List // of *kept, the one asked for last in front
	signings map[question]*signing
}

func newCache(most int) *cache {
	return &cache{
		most:    most,
		answers: make(map[question]*list.Element), serials: make(map[ledger.Serial][]*list.Element),
		recent: list.New(), signings: make(map[question]*signing),
	}
}

// get returns the answer to a question, if there is one that is fresh.
func (c *cache) get(q question, now time.Time) *kept {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.answers[q]
	if !ok {
		return nil
	}
	k := e.Value.(*kept)
	if !k.fresh(now) {
		c.remove(e)
		return nil
	}
	k.asked = now
	c.recent.MoveToFront(e)
	return k
}

// begin returns the signing of an answer; first says that the caller has to do
// it, and to end it. Nobody is first whom admit does not let in.
func (c *cache) begin(q question, serial ledger.Serial, admit func() error) (s *signing, first bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s, ok := c.signings[q]; ok && !s.stale {
		return s, false, nil
	}
	if err := admit(); err != nil {
		return nil, false, err
	}
	s = &signing{question: q, serial: serial, watched: c.watching, done: make(chan struct{})}
	c.signings[q] = s
	return s, true, nil
}

// end gives the answer to those who wait for it, and keeps it, unless it may be
// wrong by now or says that the certificate is unknown, which changes unnoticed.
func (c *cache) end(s *signing, answer *kept, err error) {
	s.answer, s.err = answer, err
	c.mu.Lock()
	defer c.mu.Unlock()
	close(s.done)
	if c.signings[s.question] == s {
		delete(c.signings, s.question)
	}
	if err != nil || s.stale || !s.watched || answer.status == unknown {
		return
	}
	if old, ok := c.answers[s.question]; ok {
		// Who asked for it has not asked again because it was signed anew.
		answer.asked = old.Value.(*kept).asked
		c.remove(old)
	}
	e := c.recent.PushFront(answer)
	c.answers[s.question] = e
	c.serials[s.serial] = append(c.serials[s.serial], e)
	c.bytes += answer.size()
	for c.recent.Len() > c.most || c.bytes > maxKept {
		c.remove(c.recent.Back())
	}
}

// remove forgets an answer, with the lock held.
func (c *cache) remove(e *list.Element) {
	k := c.recent.Remove(e).(*kept)
	c.bytes -= k.size()
	delete(c.answers, question{k.issuer, string(k.id.raw)})
	var others []*list.Element
	for _, other := range c.serials[k.id.serial] {
		if other != e {
			others = append(others, other)
		}
	}
	if len(others) == 0 {
		delete(c.serials, k.id.serial)
	} else {
		c.serials[k.id.serial] = others
	}
}

// drop forgets what is said of certificates, and what is being said at this moment.
func (c *cache) drop(serials []ledger.Serial) {
	if len(serials) == 0 {
		return
	}
	changed := make(map[ledger.Serial]bool, len(serials))
	for _, serial := range serials {
		changed[serial] = true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for serial := range changed {
		for _, e := range c.serials[serial] {
			c.remove(e)
		}
	}
	for _, s := range c.signings {
		s.stale = s.stale || changed[s.serial]
	}
}

// dropSigner forgets everything that a delegate has signed.
func (c *cache) dropSigner(d *delegate) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.signings {
		s.stale = true
	}
	for e := c.recent.Front(); e != nil; {
		next := e.Next()
		if e.Value.(*kept).signer == d {
			c.remove(e)
		}
		e = next
	}
}

// watch says whether changes are listed from here on. Where they are not any more,
// nothing that is kept can be relied on.
func (c *cache) watch(watching bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watching = watching
	if watching {
		return
	}
	for _, s := range c.signings {
		s.stale = true
	}
	c.answers, c.serials, c.bytes = make(map[question]*list.Element), make(map[ledger.Serial][]*list.Element), 0
	c.recent.Init()
}

// due lists up to most answers that end before the given time and were asked for
// after the other; those that nobody has asked for and that have ended are forgotten.
func (c *cache) due(now, endsBefore, askedAfter time.Time, most int) []*kept {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []*kept
	for e := c.recent.Front(); e != nil; {
		next, k := e.Next(), e.Value.(*kept)
		switch {
		case !k.fresh(now):
			c.remove(e)
		case k.until.Before(endsBefore) && k.asked.After(askedAfter) && len(list) < most:
			list = append(list, k)
		}
		e = next
	}
	return list
}

// size returns how many answers are kept, and their bytes.
func (c *cache) size() (answers int, bytes int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.recent.Len(), c.bytes
}
