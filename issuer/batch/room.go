package batch

import (
	"encoding/json"
	"fmt"
	"strings"
)

// room counts what the manifest of a batch will measure at most, so that one that would be
// too large is refused before anything is made or issued.
type room struct {
	plan    *Plan
	devices int
	size    int64
}

// Bounds of what a manifest has beside its lines about devices and their files: files of a
// part, and everything else, with the parts of those who are asked for again.
const (
	roomOfPart = 1 << 10
	roomOfRest = 1 << 20
)

// add counts a device.
func (r *room) add(name string) error {
	hash, serial := strings.Repeat("0", 64), strings.Repeat("0", 40)
	lines := []Entry{{Device: name, Serial: serial, Part: MaxItems, SHA256: hash}}
	if r.plan.Pack == Folder {
		var names fileNames
		file := Entry{File: partName(MaxItems) + "/" + names.of(name) + "~500.pem", Size: maxJournalLine, SHA256: hash}
		lines = append(lines, file)
		if r.plan.KeyType != "" {
			lines = append(lines, file)
		}
	}
	for _, e := range lines {
		text, err := json.Marshal(e)
		if err != nil {
			return err
		}
		r.size += int64(len(text)) + 1
	}
	if r.devices%maxPart == 0 {
		r.size += roomOfPart
	}
	r.devices++
	if r.size > maxManifest-roomOfRest {
		return fmt.Errorf("with names as long as these, the manifest of more than %d devices would be larger than the %d bytes that it may measure: divide the batch, or have archives in place of folders", r.devices-1, maxManifest)
	}
	return nil
}
