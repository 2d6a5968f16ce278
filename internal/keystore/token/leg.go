package token

import (
	"cmp"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"mintmark/internal/keystore/token/wire"
)

const (
	// absentProbe is how often an absent token is looked for.
	absentProbe = 300 * time.Millisecond
	// haltProbe is how often one that waits for a person is looked at.
	haltProbe = 2 * time.Second
	// firstPause and lastPause are between the tries to open a token that fails.
	firstPause = 500 * time.Millisecond
	lastPause  = 10 * time.Second
	// maxLosses is how often sessions may be lost without a signature in between.
	maxLosses = 8
	// lossMemory is how long a loss counts.
	lossMemory = 10 * time.Second
	// distrustMemory is how long a wrong signature counts, and maxDistrust of them put
	// the leg out of use for distrustPause.
	distrustMemory = time.Minute
	maxDistrust    = 3
	distrustPause  = 10 * time.Second
)

// leg is the primary or the spare of a token.
type leg struct {
	t     *Token
	src   Source
	spare bool
	label string // primary or spare
	name  string // for Refusals
	log   *slog.Logger

	wake      chan struct{} // of one: run looks again
	probation chan struct{} // of one: held by the call of a suspect key
	used      atomic.Int64  // time of the last signature, or round of test signatures, ns
	login     sync.Mutex    // one login at a time, until it is known whether the PIN was refused
	starts    *launcher
	proc      *process      // of run alone
	served    bool          // of run alone: proc was opened before
	took      time.Duration // of run alone: by the last opening

	mu        sync.Mutex
	changed   chan struct{} // closed, and made anew, with each change of state
	state     State
	since     time.Time
	err       error  // why it is not ready
	cause     string // of the opening
	test      bool   // a test signature must verify before the leg is used
	retryAt   time.Time
	failed    int // tries to open in a row that failed, as failure says
	failure   failure
	pace      time.Duration // of signatures, on average
	stalledAt time.Time
	losses    int // of sessions, without a signature in between
	lostAt    time.Time
	distrusts []time.Time
	info      wire.Token
	reopens   map[string]int
	keys      map[*key]*legKey
	cur       *session
	old       *session // retired, and perhaps still in use
	busy      bool     // a test signature or trial is under way

	request   *request // of an operator, until run takes it
	parts     parts
	typed     *secret   // the PIN that was typed and accepted
	wrong     int       // typed PINs in a row that were not
	nextTyped time.Time // when the next one is taken
	accepted  string    // version of the PIN that was
	refused   string    // version that was refused, or is tried; also in Config.Refused
}

// legKey is what is known of a key in a leg.
type legKey struct {
	breaker  breaker
	problem  error
	refusal  error // of its last test signature, where the token is well otherwise
	warnings []string
	seen     bool      // it was there before
	matches  bool      // a signature with it has verified
	looked   time.Time // when it was looked for last, while it is missing
}

// session is a token that was opened, until it is opened anew. What can be changed
// is guarded by leg.mu.
type session struct {
	proc    *process
	slots   chan struct{} // bounds the calls under way
	retired chan struct{}
	idle    chan struct{} // closed when it is retired and no call is under way
	handles map[*key]uint32
	missing map[*key]bool
	traffic

	answered time.Time // when the last signature came back
	kill     bool      // do not wait for the calls under way
}

func newLeg(t *Token, src Source, spare bool) *leg {
	l := &leg{
		t: t, src: src, spare: spare, label: "primary", name: t.cfg.Name,
		wake: make(chan struct{}, 1), probation: make(chan struct{}, 1),
		changed: make(chan struct{}), state: Idle, since: time.Now(), cause: causeStart,
		reopens: make(map[string]int), keys: make(map[*key]*legKey),
	}
	if spare {
		l.label, l.name = "spare", t.cfg.Name+"/spare"
	}
	l.log = t.cfg.Logger.With("token", t.cfg.Name, "leg", l.label)
	l.starts = &launcher{command: t.cfg.Command, log: l.log}
	l.gauge()
	return l
}

func newSession(p *process, sessions int) *session {
	return &session{
		proc: p,
		// Twice as many as there are sessions, so that none of them waits for the
		// way of the next request.
		slots:   make(chan struct{}, 2*max(sessions, 1)),
		retired: make(chan struct{}), idle: make(chan struct{}),
		handles: make(map[*key]uint32), missing: make(map[*key]bool),
		traffic: traffic{sessions: max(sessions, 1), flights: make(map[*flight]struct{})},
	}
}

// poke lets run look again.
func (l *leg) poke() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// set changes the state; err says why it is not ready. l.mu is held.
func (l *leg) set(state State, err error) {
	if l.state != state {
		l.since = time.Now()
	}
	l.state, l.err = state, err
	l.gauge()
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *leg) gauge() {
	for _, s := range states {
		v := 0.0
		if s == l.state {
			v = 1
		}
		l.t.metrics.state.WithLabelValues(l.label, string(s)).Set(v)
	}
	sessions := 0
	if l.state == Ready {
		sessions = l.info.Sessions
	}
	l.t.metrics.sessions.WithLabelValues(l.label).Set(float64(sessions))
}

// keyOf returns what is known of k here. l.mu is held.
func (l *leg) keyOf(k *key) *legKey {
	lk := l.keys[k]
	if lk == nil {
		lk = new(legKey)
		l.keys[k] = lk
	}
	return lk
}

func (l *leg) forget(k *key) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.keys, k)
	if l.cur != nil {
		delete(l.cur.handles, k)
		delete(l.cur.missing, k)
	}
}

// lose gives up the sessions of s, unless that was done already. Whoever uses the
// leg from then on waits for new ones.
func (l *leg) lose(s *session, cause string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.loseLocked(s, cause, err)
}

func (l *leg) loseLocked(s *session, cause string, err error) bool {
	if l.cur != s || s == nil {
		return false
	}
	now := time.Now()
	if now.Sub(l.lostAt) > lossMemory {
		l.losses = 0
	}
	l.lostAt = now
	l.losses++
	// After a C_Finalize with calls under way the state of the library is undefined
	// (PKCS#11 v2.40, Section 5.4): SoftHSM deadlocks in the next C_Initialize at times. A
	// fresh process is quicker than finding out.
	l.retire(cause == causeHang || cause == causeCrash || cause == causeLibrary)
	l.cause = cause
	l.reopens[cause]++
	l.t.metrics.reopens.WithLabelValues(l.label, cause).Inc()
	if cause == causeHang && len(l.t.legs) > 1 {
		l.test = true // the other leg signs as long as it takes
	}
	if l.losses > maxLosses {
		l.test = true
		l.retryAt = now.Add(firstPause)
		l.set(Failing, err)
	} else {
		l.set(Opening, err)
	}
	l.poke()
	return true
}

// retire takes the sessions out of use. l.mu is held.
func (l *leg) retire(kill bool) {
	s := l.cur
	if s == nil {
		return
	}
	l.cur, l.old = nil, s
	s.kill = kill
	close(s.retired)
	if len(s.flights) == 0 {
		close(s.idle)
	}
}

// distrust says that a signature of s is wrong.
func (l *leg) distrust(s *session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.loseLocked(s, causeDistrust, errBadSignature) {
		return
	}
	l.test = true
	now := time.Now()
	for len(l.distrusts) > 0 && now.Sub(l.distrusts[0]) > distrustMemory {
		l.distrusts = l.distrusts[1:]
	}
	l.distrusts = append(l.distrusts, now)
	if len(l.distrusts) >= maxDistrust {
		l.distrusts = nil
		l.retryAt = now.Add(distrustPause)
		l.set(Failing, errBadSignature)
	}
	l.log.Error("the token made a signature that does not verify")
}

// launch notes a call under way, and reports whether s is not retired.
func (l *leg) launch(s *session, f *flight) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cur != s {
		return false
	}
	s.enter(f)
	if f.key != nil {
		l.watch(s, f)
	}
	return true
}

// land notes its end.
func (l *leg) land(s *session, f *flight, signed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s.leave(f)
	if f.timer != nil {
		f.timer.Stop()
	}
	if f.long {
		l.poke() // test signatures have waited
	}
	if signed {
		l.pacing(s, f)
		l.losses = 0
		if lk := l.keys[f.key]; lk != nil {
			lk.refusal = nil
			if lk.breaker.strikes > 0 && !lk.breaker.tripped() {
				lk.breaker.signed()
			}
		}
	}
	if l.cur != s && len(s.flights) == 0 {
		close(s.idle)
	}
}

// crashed says that the process of s has ended. The suspect that made a call, or else
// every key that did, may be the cause.
func (l *leg) crashed(s *session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cur != s {
		return // it was killed because of another call
	}
	var keys []*key
	for f := range s.flights {
		if f.key == nil {
			continue
		}
		if f.probation {
			keys = []*key{f.key}
			break
		}
		keys = append(keys, f.key)
	}
	struck := make(map[*key]bool)
	for _, k := range keys {
		if !struck[k] {
			struck[k] = true
			l.keyOf(k).breaker.strike(crashStrikes, "its signatures end the token's library", time.Now())
		}
	}
	l.loseLocked(s, causeCrash, errProcessDied)
}

// hangs says that the call f in s took longer than it may. The first one that does is
// the cause; the others are made again. It reports false if it may wait for a key that
// is made there.
func (l *leg) hangs(s *session, f *flight) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.mayWait(f, l.t.cfg.Attempt) {
		return false
	}
	if l.loseLocked(s, causeHang, errHung) && f.key != nil {
		l.keyOf(f.key).breaker.strike(hangStrikes, "its signatures hang", time.Now())
	}
	return true
}

// advice is what an operator does, with an option of hsm unlock.
func (l *leg) advice(option string) string {
	switch {
	case !l.t.cfg.NoServer && l.spare:
		return "say mintmark hsm unlock " + l.t.cfg.Name + " --spare" + option
	case !l.t.cfg.NoServer:
		return "say mintmark hsm unlock " + l.t.cfg.Name + option
	case option == finalTry:
		return "log in with it once by other means (pkcs11-tool --login), after which the token counts anew"
	}
	return "run this again"
}

// correct is what to do about a PIN of the configuration.
func (l *leg) correct() string {
	text := "put the right PIN into " + cmp.Or(l.src.From, "its place")
	if l.t.cfg.NoServer {
		return text + ", then run this again"
	}
	return text + ", which is noticed, or make sure of it and " + l.advice(" --again")
}

// finalTry is the option for the last PIN before a token locks.
const finalTry = " --final-try"

// unavailable is what callers get while the leg cannot be used. l.mu is held.
func (l *leg) unavailable() *UnavailableError {
	e := &UnavailableError{Token: l.t.cfg.Name, State: l.state, Wait: time.Second}
	switch l.state {
	case Failing:
		e.Wait = max(e.Wait, time.Until(l.retryAt).Round(time.Second))
	case Locked, Refused:
		e.Wait = 30 * time.Second
	}
	if e.Err = l.err; e.Err == nil {
		e.Err = errors.New("it is not open")
	}
	return e
}

// gone reports whether s was given up.
func (s *session) gone() bool {
	select {
	case <-s.retired:
		return true
	default:
		return false
	}
}
