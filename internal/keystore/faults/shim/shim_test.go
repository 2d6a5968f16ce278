package shim

import (
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestWords compares the list of words in shim.c with the one here.
func TestWords(t *testing.T) {
	m := regexp.MustCompile(`(?s)enum \{\s*READY,(.*?)\};`).FindSubmatch(source)
	if m == nil {
		t.Fatal("shim.c has no list of words")
	}
	c, next := make(map[string]int), 1
	for _, name := range strings.Split(string(m[1]), ",") {
		name, value, given := strings.Cut(strings.TrimSpace(name), " = ")
		if given {
			var err error
			if next, err = strconv.Atoi(value); err != nil {
				t.Fatal(err)
			}
		}
		c[name] = next
		next++
	}
	list := map[string]Word{
		"COMMAND": commandWord, "DONE": doneWord, "RESULT": resultWord,
		"DELAY": Delay, "HANG": Hang, "KEY": Key, "FAIL": Fail, "FAIL_COUNT": FailCount, "GONE": Gone, "LOGIN": Login,
		"LOCK_AFTER": LockAfter, "FLAGS_ON": FlagsOn, "PAD": Pad, "GARBAGE": Garbage, "GARBAGE_COUNT": GarbageCount,
		"CRASH": Crash, "CRASH_COUNT": CrashCount, "MAX_SESSIONS": MaxSessions, "NOISE": Noise, "LIE": Lie, "LIE_VALUE": LieValue,
		"INIT_DELAY": InitDelay, "LOGIN_DELAY": LoginDelay, "LOGIN_CRASH": LoginCrash, "ASTRAY": Astray, "LOADS": Loads, "PID": PID, "LOGINS": Logins, "REFUSED": Refused, "SIGNED": Signed,
		"OPENED": Opened, "INITIALIZED": Initialized, "FINALIZED": Finalized, "HUNG": Hung, "SIGNING": Signing, "ASKED": Asked,
		"WORDS": words,
	}
	for name, w := range list {
		if c[name] != int(w) {
			t.Errorf("%s is %d in shim.c and %d here", name, c[name], w)
		}
	}
	for name := range c {
		if _, ok := list[name]; !ok {
			t.Errorf("%s of shim.c is not compared", name)
		}
	}
}
