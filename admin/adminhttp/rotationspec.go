package adminhttp

import (
	"bytes"
	"net/http"
	"slices"
	"time"

	"mintmark/admin"
	"mintmark/ca"
	"mintmark/ca/rotation"
	"mintmark/internal/ledger"
)

const (
	day = 24 * time.Hour
	// What a plan asks for unless it says otherwise.
	defaultDistribute, defaultWatch, defaultDrain, defaultSilent = 30 * day, 7 * day, 30 * day, 30 * day
	// maxRotationTime bounds each of these: what is longer was meant otherwise.
	maxRotationTime = 10 * 365 * day
	maxGateOfficers = 20
	maxCanaryLabels = 100
	// maxValidityDays is a hundred years.
	maxValidityDays = 100 * 366
	// maxKeyURI and maxCommonName (ub-common-name of RFC 5280, Appendix A.1) bound texts
	// that stand in every plan.
	maxKeyURI, maxCommonName = 1024, 64
)

// rotationSpec checks what can be checked without looking at any CA, and fills in the
// defaults. Package rotation checks the rest.
func (h *handler) rotationSpec(in admin.RotationSpec) (rotation.Spec, error) {
	wrong := func(format string, args ...any) (rotation.Spec, error) {
		return rotation.Spec{}, fail(http.StatusBadRequest, "rotation-spec", format, args...)
	}
	for _, one := range []struct {
		field, text string
		most        int
	}{{"old", in.Old, maxCommonName}, {"new", in.New, maxCommonName}, {"common_name", in.CommonName, maxCommonName}, {"key_uri", in.KeyURI, maxKeyURI}, {"key", in.Key, maxCommonName}} {
		if len(one.text) > one.most || !isText(one.text) {
			return wrong("%s is not text of at most %d bytes", one.field, one.most)
		}
	}
	if in.Old == "" || in.New == "" {
		return wrong("old and new must name two CAs")
	}
	if err := checkKeyURI(in.KeyURI); err != nil {
		return rotation.Spec{}, err
	}
	if in.Key != "" {
		key, err := ca.ParseAlgorithm(in.Key)
		if err != nil {
			return wrong("key: %v", err)
		}
		in.Key = string(key)
	}
	kind, err := h.rotationKind(in)
	if err != nil {
		return rotation.Spec{}, err
	}
	switch g := in.Gates; {
	case in.ValidityDays < 0 || in.ValidityDays > maxValidityDays:
		return wrong("validity_days %d is not between 1 and %d", in.ValidityDays, maxValidityDays)
	case in.CanaryPercent < 0 || in.CanaryPercent > 100:
		return wrong("canary_percent %d is not between 0 and 100", in.CanaryPercent)
	case len(in.CanaryLabels) > maxCanaryLabels:
		return wrong("canary_labels has %d labels; %d are allowed", len(in.CanaryLabels), maxCanaryLabels)
	case g.Officers != 0 && g.Officers < 2 || g.Officers > maxGateOfficers:
		return wrong("officers %d is not between 2 and %d", g.Officers, maxGateOfficers)
	case g.Trusting < 0 || g.Trusting > 10000:
		return wrong("trusting %d is not between 1 and 10000 hundredths of a percent", g.Trusting)
	case g.Moved < 0 || g.Moved > 10000:
		return wrong("moved %d is not between 1 and 10000 hundredths of a percent", g.Moved)
	}
	for _, label := range in.CanaryLabels {
		if known, ok := h.Labels[label]; !ok || known.Target != "" {
			return wrong("canary_labels: there is no EST label %q", shorten(label))
		}
	}
	spec := rotation.Spec{
		Kind: kind, Old: in.Old, New: in.New, Emergency: in.Emergency, KeyURI: in.KeyURI, Key: in.Key, CommonName: in.CommonName,
		ValidityDays: in.ValidityDays, Elsewhere: in.Elsewhere,
		Canary: ledger.Canary{Labels: slices.Compact(slices.Sorted(slices.Values(in.CanaryLabels))), Percent: in.CanaryPercent},
		Gates:  rotation.Gates{Officers: max(in.Gates.Officers, 2), Trusting: in.Gates.Trusting, Moved: in.Gates.Moved},
	}
	silent := &in.Gates.SilentSeconds
	if *silent == 0 {
		silent = nil
	}
	for _, one := range []struct {
		field   string
		seconds *int64
		without time.Duration
		into    *time.Duration
	}{
		{"distribute_seconds", in.Gates.DistributeSeconds, defaultDistribute, &spec.Gates.Distribute},
		{"watch_seconds", in.Gates.WatchSeconds, defaultWatch, &spec.Gates.Watch},
		{"drain_seconds", in.Gates.DrainSeconds, defaultDrain, &spec.Gates.Drain},
		{"silent_seconds", silent, defaultSilent, &spec.Gates.Silent},
	} {
		switch {
		case one.seconds != nil && (*one.seconds < 0 || *one.seconds > int64(maxRotationTime/time.Second)):
			return wrong("%s %d is not between 0 and %d", one.field, *one.seconds, int64(maxRotationTime/time.Second))
		case one.seconds != nil && *one.seconds > 0 && in.Emergency && one.into != &spec.Gates.Silent:
			return wrong("%s: in an emergency nothing waits for a time to pass, leave it out", one.field)
		case one.seconds != nil:
			*one.into = time.Duration(*one.seconds) * time.Second
		case !in.Emergency || one.into == &spec.Gates.Silent:
			*one.into = one.without
		}
	}
	return spec, nil
}

// rotationKind is what was asked for or, if nothing was, what the old CA is.
func (h *handler) rotationKind(in admin.RotationSpec) (ledger.RotationKind, error) {
	kind := ledger.RotationKind(in.Kind)
	switch kind {
	case ledger.RotateRoot, ledger.RotateIssuing:
		return kind, nil
	case "":
	default:
		return "", fail(http.StatusBadRequest, "rotation-spec", "kind %q is neither root nor issuing", shorten(in.Kind))
	}
	old, err := h.RA.Authority(in.Old)
	if err != nil {
		return "", err
	}
	if c := old.Certificate(); bytes.Equal(c.RawIssuer, c.RawSubject) {
		return ledger.RotateRoot, nil
	}
	return ledger.RotateIssuing, nil
}
