package awssim

import (
	"bytes"
	"encoding/json"
	"net/http"
	"time"

	"mintmark/internal/pattern"
)

// Bounds of bulk registration: 256 KB a line (AWS IoT developer guide,
// bulk-provisioning); the tasks that are kept are the simulator's own.
const (
	maxBulkLine  = 256 << 10
	maxBulkTasks = 100
)

// Statuses of a task (API reference, DescribeThingRegistrationTask).
const (
	bulkRunning    = "InProgress"
	bulkDone       = "Completed"
	bulkFailed     = "Failed"
	bulkCancelled  = "Cancelled"
	bulkCancelling = "Cancelling"
)

var (
	bulkBucket = pattern.New(`^[a-zA-Z0-9._-]{3,256}$`)
	bulkKey    = pattern.New(`^[a-zA-Z0-9!_.*'()/-]+$`)
)

// bulkTask is a task of StartThingRegistrationTask. World.mu guards it.
type bulkTask struct {
	seq       int64
	id        string
	body      string
	bucket    string
	key       string
	roleARN   string
	status    string
	message   string
	created   time.Time
	modified  time.Time
	percent   int
	success   int
	failure   int
	errors    bytes.Buffer // reports, one JSON document a line
	results   bytes.Buffer
	reportKey string // makes the address of a report a secret, as AWS's signed URLs are
}

// startBulk starts a task; an account has one at a time (AWS General Reference).
// The error for a second one is not documented.
func startBulk(c *call) (any, error) {
	var in struct {
		TemplateBody    string `json:"templateBody"`
		InputFileBucket string `json:"inputFileBucket"`
		InputFileKey    string `json:"inputFileKey"`
		RoleARN         string `json:"roleArn"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	if _, err := parseTemplate(in.TemplateBody); err != nil {
		return nil, err
	}
	switch {
	case !bulkBucket.MatchString(in.InputFileBucket):
		return nil, invalid("inputFileBucket must have 3 to 256 letters, digits or ._-")
	case len(in.InputFileKey) > 1024 || !bulkKey.MatchString(in.InputFileKey):
		return nil, invalid("inputFileKey must have 1 to 1024 letters, digits or !_.*'()-/")
	case len(in.RoleARN) < 20 || len(in.RoleARN) > 2048:
		return nil, invalid("roleArn must have 20 to 2048 characters")
	}
	var oldest *bulkTask
	for _, t := range c.w.domain.bulk {
		if !t.ended() {
			return nil, invalid("The task %s is still running; an account has one at a time", t.id)
		}
		if oldest == nil || t.seq < oldest.seq {
			oldest = t
		}
	}
	if len(c.w.domain.bulk) >= maxBulkTasks {
		delete(c.w.domain.bulk, oldest.id)
	}
	now := c.w.now()
	t := &bulkTask{
		seq: c.w.next(), id: randomID(), body: in.TemplateBody, bucket: in.InputFileBucket, key: in.InputFileKey,
		roleARN: in.RoleARN, status: bulkRunning, created: now, modified: now, reportKey: randomID(),
	}
	c.w.domain.bulk[t.id] = t
	if !c.w.sim.spawn(func() { c.w.runBulk(t) }) {
		return nil, iotError("InternalFailureException", "the simulator is closed")
	}
	return map[string]string{"taskId": t.id}, nil
}

func (t *bulkTask) ended() bool {
	return t.status != bulkRunning && t.status != bulkCancelling
}

// runBulk registers line after line. It ends early when it is stopped or the
// simulator closes.
func (w *world) runBulk(t *bulkTask) {
	data, err := w.readObject(t.bucket, t.key)
	if err != nil {
		w.endBulk(t, bulkFailed, clip(err.Error(), 2048))
		return
	}
	total, offset, number := len(data), 0, 0
	for offset < total {
		line, _, _ := bytes.Cut(data[offset:], []byte("\n"))
		number++
		if len(bytes.TrimSpace(line)) > 0 && !w.bulkLine(t, number, offset, line) {
			w.endBulk(t, bulkCancelled, "the task was stopped")
			return
		}
		offset += len(line) + 1
		w.mu.Lock()
		t.percent, t.modified = min(100, offset*100/total), w.now()
		w.mu.Unlock()
	}
	w.endBulk(t, bulkDone, "")
}

func (w *world) endBulk(t *bulkTask, status, message string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	t.status, t.message, t.modified = status, message, w.now()
	if status == bulkDone {
		t.percent = 100
	}
	w.note("bulk.ended", message, "taskId", t.id, "status", status)
}

// bulkLine registers one device; false means that the task was stopped.
func (w *world) bulkLine(t *bulkTask, number, offset int, line []byte) bool {
	select {
	case <-w.sim.done:
		return false
	default:
	}
	w.mu.Lock()
	stopped := t.status != bulkRunning
	w.mu.Unlock()
	if stopped {
		return false
	}
	var done *registered
	out := w.undergo("bulk:RegisterThing", func() (any, error) {
		params, err := bulkParameters(line)
		if err != nil {
			return nil, err
		}
		w.mu.Lock()
		done, err = w.registerThing(t.body, params)
		w.mu.Unlock()
		if err != nil {
			return nil, err
		}
		w.disconnect(done.ended, "the certificate was deactivated by bulk registration")
		return done, nil
	})
	if out.cut {
		out.failed = iotError("InternalFailureException", "injected fault")
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if out.failed != nil {
		t.failure++
		report(&t.errors, map[string]any{"lineNumber": number, "offset": offset, "errorCode": out.failed.code, "errorMessage": out.failed.message})
		return true
	}
	t.success++
	report(&t.results, map[string]any{"lineNumber": number, "offset": offset, "response": map[string]any{
		"CertificatePem": done.CertificatePem, "ResourceArns": done.ResourceARNs}})
	return true
}

// report adds a line to a report. The members are the simulator's choice: the
// format of AWS's reports is not documented.
func report(b *bytes.Buffer, line map[string]any) {
	text, err := json.Marshal(line)
	if err != nil {
		return // maps of texts and numbers marshal
	}
	b.Write(text)
	b.WriteByte('\n')
}

// bulkParameters reads one line: an object whose values are strings.
func bulkParameters(line []byte) (map[string]string, error) {
	if len(line) > maxBulkLine {
		return nil, invalid("The line is longer than 256 KB")
	}
	var params map[string]string
	if err := decodeStrict(line, &params); err != nil {
		return nil, invalid("The line is not a JSON object of strings: %v", err)
	}
	if params == nil {
		return nil, invalid("The line is not a JSON object of strings")
	}
	return params, nil
}

// serveReport answers a report at the address that ListThingRegistrationTaskReports
// gave.
func (s *Sim) serveReport(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	world := s.worlds[r.PathValue("account")+"/"+r.PathValue("region")]
	s.mu.Unlock()
	if world == nil {
		http.NotFound(w, r)
		return
	}
	world.mu.Lock()
	t := world.domain.bulk[r.PathValue("task")]
	var text []byte
	if t != nil && r.URL.Query().Get("key") == t.reportKey {
		switch r.PathValue("file") {
		case "errors.json":
			text = bytes.Clone(t.errors.Bytes())
		case "results.json":
			text = bytes.Clone(t.results.Bytes())
		}
	}
	world.mu.Unlock()
	if len(text) == 0 {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Write(text)
}
