package heads

import (
	"encoding/json"
	"os"
	"path/filepath"
)

// sentName is the file in Dir that says up to which head each place has them.
// It saves work and is not relied on: without it, or for a place that is new,
// all heads are offered again, and what is there already costs one request.
const sentName = "sent.json"

// readSent reads what was sent before, as far as it can be read.
func (e *Exporter) readSent() {
	content, err := os.ReadFile(filepath.Join(e.cfg.Dir, sentName))
	if err != nil {
		return
	}
	var sent map[string]int64
	if json.Unmarshal(content, &sent) != nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, name := range e.names() {
		if n := sent[name]; n > 0 && n <= e.newest {
			e.sent[name] = n
		}
	}
}

func (e *Exporter) writeSent() {
	e.mu.Lock()
	defer e.mu.Unlock()
	content, err := json.MarshalIndent(e.sent, "", "  ")
	if err != nil {
		return // a map of names and numbers has a form in JSON
	}
	path := filepath.Join(e.cfg.Dir, sentName)
	if os.WriteFile(path+".new", content, 0o600) == nil {
		os.Rename(path+".new", path) // no matter if it fails
	}
}
