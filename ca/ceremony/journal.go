package ceremony

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"
)

// The kinds of journal entries.
const (
	entryBegin      = "begin"      // the officers have signed
	entryMaking     = "making"     // a key will be made
	entryMade       = "made"       // it is there
	entryIntent     = "intent"     // something will be signed
	entrySigned     = "signed"     // it is in its files
	entryDestroying = "destroying" // a key will be destroyed
	entryDestroyed  = "destroyed"  // it is gone
	entryStopped    = "stopped"    // the ceremony ended in an error
	entryEnd        = "end"        // all steps are done
)

// entry is a line of the journal.
type entry struct {
	Sequence int       `json:"sequence"`
	Previous string    `json:"previous"` // SHA-256 of the line before; of the ceremony file in the first
	At       time.Time `json:"at"`
	Kind     string    `json:"kind"`
	Step     string    `json:"step,omitempty"`
	Key      *Key      `json:"key,omitempty"`
	Serial   string    `json:"serial,omitempty"`
	TBS      string    `json:"tbs,omitempty"`    // what will be signed, in hexadecimal
	SHA256   string    `json:"sha256,omitempty"` // of the statement; of the DER that was signed
	Outputs  []Item    `json:"outputs,omitempty"`
	Words    string    `json:"words,omitempty"`
}

// same reports whether two entries say the same, apart from their place and time.
func (e entry) same(other entry) bool {
	e.Sequence, e.Previous, e.At = other.Sequence, other.Previous, other.At
	a, errA := json.Marshal(e)
	b, errB := json.Marshal(other)
	return errA == nil && errB == nil && bytes.Equal(a, b)
}

// journal is the journal of a ceremony that runs.
type journal struct {
	file *os.File
	now  func() time.Time
	last string
	next int
	all  []byte
}

// append writes an entry durably.
func (j *journal) append(e entry) error {
	e.Sequence, e.Previous, e.At = j.next, j.last, j.now()
	line, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("encoding a journal entry: %w", err)
	}
	line = append(line, '\n')
	if _, err := j.file.Write(line); err != nil {
		return fmt.Errorf("writing the journal: %w", err)
	}
	if err := j.file.Sync(); err != nil {
		return fmt.Errorf("syncing the journal: %w", err)
	}
	j.next++
	j.last = hexHash(line)
	j.all = append(j.all, line...)
	return nil
}

// readJournal reads a journal and checks its chain. Of a journal that is broken it
// returns the entries up to there, too.
func readJournal(data []byte, first string) ([]entry, error) {
	var list []entry
	last := first
	for len(data) > 0 {
		i := bytes.IndexByte(data, '\n')
		if i < 0 {
			return list, fmt.Errorf("line %d is cut off", len(list)+1)
		}
		line := data[:i+1]
		data = data[i+1:]
		var e entry
		decoder := json.NewDecoder(bytes.NewReader(line))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&e); err != nil {
			return list, fmt.Errorf("line %d: %w", len(list)+1, err)
		}
		again, err := json.Marshal(e)
		if err != nil {
			return list, fmt.Errorf("line %d: %w", len(list)+1, err)
		}
		switch {
		case !bytes.Equal(append(again, '\n'), line):
			return list, fmt.Errorf("line %d is not spelt as this program writes it", len(list)+1)
		case e.Sequence != len(list)+1:
			return list, fmt.Errorf("line %d has the number %d", len(list)+1, e.Sequence)
		case e.Previous != last:
			return list, fmt.Errorf("line %d does not follow the line before it", len(list)+1)
		}
		last = hexHash(line)
		list = append(list, e)
	}
	if len(list) == 0 {
		return nil, errors.New("it is empty")
	}
	return list, nil
}

// entriesOf are the entries of a step that was carried out.
func entriesOf(s *Step, d *Done, tbs []byte) []entry {
	switch {
	case s.Destroy != nil:
		return []entry{{Kind: entryDestroying, Step: s.Name, Key: d.Key}, {Kind: entryDestroyed, Step: s.Name, Key: d.Key}}
	case s.Root != nil:
		return append([]entry{making(s), {Kind: entryMade, Step: s.Name, Key: d.Key}}, signing(d, tbs)...)
	}
	return signing(d, tbs)
}

// making names a key that is not there yet, by the URI that the file gives it.
func making(s *Step) entry {
	return entry{Kind: entryMaking, Step: s.Name, Key: &Key{URI: redact(s.Root.Key), Algorithm: s.Root.Algorithm}}
}

func signing(d *Done, tbs []byte) []entry {
	return []entry{
		{Kind: entryIntent, Step: d.Step, Key: d.Signer, Serial: d.Serial, TBS: hex.EncodeToString(tbs)},
		{Kind: entrySigned, Step: d.Step, SHA256: d.SHA256, Outputs: d.Outputs},
	}
}
