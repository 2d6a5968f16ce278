package ceremony

// incomplete says of a folder without a transcript how far the ceremony came, by its
// journal: which keys exist and what may have been signed.
func (v *verifier) incomplete() {
	v.report.Incomplete = true
	v.report.bad("%s is missing: the ceremony is incomplete, and nothing of it should be used before people have decided what becomes of its keys", fileTranscript)
	data, ok := v.files[fileJournal]
	if !ok {
		v.report.good("there is no journal, which is begun before any key is made or used")
		return
	}
	entries, err := readJournal(data, v.file.Hash())
	if err != nil {
		v.report.bad("%s: %v", fileJournal, err)
	}
	for i, e := range entries {
		last := i == len(entries)-1 || entries[i+1].Kind == entryStopped
		switch e.Kind {
		case entryBegin:
			v.report.good("%s: begun", timeText(e.At))
		case entryMaking:
			if last {
				v.report.good("%s: step %q was making a key %s at %s: see whether it is there", timeText(e.At), e.Step, keyField(e, "algorithm"), keyField(e, "uri"))
			}
		case entryMade:
			v.report.good("%s: step %q made the key %s (%s) at %s, which exists", timeText(e.At), e.Step, keyField(e, "sha256"), keyField(e, "algorithm"), keyField(e, "uri"))
		case entryIntent:
			if last {
				v.report.good("%s: step %q was signing %s with the key %s: it may exist", timeText(e.At), e.Step, intentWords(e), keyField(e, "sha256"))
			}
		case entrySigned:
			v.report.good("%s: step %q signed %s", timeText(e.At), e.Step, e.SHA256)
		case entryDestroying:
			if last {
				v.report.good("%s: step %q was destroying the key %s at %s: see whether it is there", timeText(e.At), e.Step, keyField(e, "sha256"), keyField(e, "uri"))
			}
		case entryDestroyed:
			v.report.good("%s: step %q destroyed the key %s at %s", timeText(e.At), e.Step, keyField(e, "sha256"), keyField(e, "uri"))
		case entryStopped:
			v.report.good("%s: stopped: %s", timeText(e.At), e.Words)
		case entryEnd:
			v.report.good("%s: all steps were done, and no transcript was written", timeText(e.At))
		}
	}
}

func intentWords(e entry) string {
	if e.Serial == "" {
		return "a CRL"
	}
	return "the certificate with serial number " + e.Serial
}

func keyField(e entry, name string) string {
	switch {
	case e.Key == nil:
		return "unknown"
	case name == "uri":
		return e.Key.URI
	case name == "sha256":
		return e.Key.SHA256
	}
	return e.Key.Algorithm
}
