package awsreg_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"mintmark/awsreg"
)

// What makes no sense, and names that AWS does not take, are refused with words.
func TestValidateTarget(t *testing.T) {
	if err := everything("http://127.0.0.1:1").Validate(); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		change func(*awsreg.Target)
		want   string
	}{
		"mode none without register":   {func(t *awsreg.Target) { t.CAs[0].Mode = awsreg.ModeNone }, "mode NONE is for use register"},
		"register without its section": {func(t *awsreg.Target) { t.CAs[2].Register = nil }, "no register section"},
		"section without register":     {func(t *awsreg.Target) { t.CAs[0].Register = t.CAs[2].Register }, "use is jitr"},
		"register without policy":      {func(t *awsreg.Target) { t.CAs[2].Register = &awsreg.Register{} }, "the policy's name"},
		"register in a bad group":      {func(t *awsreg.Target) { t.CAs[2].Register.Groups = []string{"hall 2"} }, `"hall 2" of a thing group`},
		"register in a group twice":    {func(t *awsreg.Target) { t.CAs[2].Register.Groups = []string{"a", "a"} }, "listed twice"},
		"register of a bad type":       {func(t *awsreg.Target) { t.CAs[2].Register.ThingType = "*" }, "thing type"},
		"state":                        {func(t *awsreg.Target) { t.CAs[0].State = "gone" }, `state "gone"`},
		"sweep":                        {func(t *awsreg.Target) { t.CAs[4].Sweep = "burn" }, `sweep "burn"`},
		"sweep of an active CA":        {func(t *awsreg.Target) { t.CAs[0].Sweep = awsreg.SweepRevoke }, "the CA is active"},
		"end of no registration":       {func(t *awsreg.Target) { t.CAs[3].State = awsreg.StateInactive }, "no registration to end"},
		"no template name":             {func(t *awsreg.Target) { t.Fleets[0].Template = "" }, "1 to 36"},
		"long template name":           {func(t *awsreg.Target) { t.Fleets[0].Template = strings.Repeat("x", 37) }, "1 to 36"},
		"template name with wildcard":  {func(t *awsreg.Target) { t.Fleets[0].Template = "pump*" }, "1 to 36"},
		"long rotation template name":  {func(t *awsreg.Target) { t.Fleets[0].Template = strings.Repeat("x", 30) }, "set rotation_template"},
		"no role":                      {func(t *awsreg.Target) { t.Fleets[0].RoleARN = "" }, "no role"},
		"no hook":                      {func(t *awsreg.Target) { t.Fleets[0].Hook = "" }, "any claim registers any device"},
		"no rotation hook":             {func(t *awsreg.Target) { t.Fleets[0].RotationHook = "" }, "rotation_hook"},
		"hook without rotation":        {func(t *awsreg.Target) { t.Rotation = nil }, "no rotation section"},
		"prefix":                       {func(t *awsreg.Target) { t.Fleets[0].ThingPrefix = "pump/" }, "prefix"},
		"long prefix":                  {func(t *awsreg.Target) { t.Fleets[0].ThingPrefix = strings.Repeat("x", 128) }, "prefix"},
		"policy name":                  {func(t *awsreg.Target) { t.Fleets[0].Policy = "*" }, "policies' names"},
		"claim policy name":            {func(t *awsreg.Target) { t.Fleets[0].ClaimPolicy = "a b" }, "policies' names"},
		"template twice":               {func(t *awsreg.Target) { t.Fleets[1].Template = "pumps" }, `both have the template "pumps"`},
		"rotation template twice":      {func(t *awsreg.Target) { t.Fleets[1].RotationTemplate = "pumps-rotation" }, `both have the template "pumps-rotation"`},
		"rotation by the template":     {func(t *awsreg.Target) { t.Fleets[0].RotationTemplate = "pumps" }, "both have the template"},
		"claim policy of two fleets":   {func(t *awsreg.Target) { t.Fleets[1].ClaimPolicy = "pumps-claim" }, "template of the other"},
		"claim policy for devices":     {func(t *awsreg.Target) { t.Fleets[1].Policy = "pumps-claim" }, "for the claims of fleet"},
		"own attribute":                {func(t *awsreg.Target) { t.Fleets[0].Attributes = map[string]string{"serial_number": "1"} }, "set by the template"},
		"thing type":                   {func(t *awsreg.Target) { t.Fleets[0].ThingType = "ä" }, "thing type"},
		"rotation in the manifest":     {func(t *awsreg.Target) { t.Rotation.Table = "mintmark-devices" }, "needs one of its own"},
		"rotation table":               {func(t *awsreg.Target) { t.Rotation.Table = "*" }, "name \"*\" of the table"},
		"negative period":              {func(t *awsreg.Target) { t.Rotation.Period = -time.Second }, "negative"},
		"negative grace":               {func(t *awsreg.Target) { t.Rotation.Grace = -time.Second }, "negative"},
		"no presence":                  {func(t *awsreg.Target) { t.Rotation.Presence = "" }, "no old certificate goes out of service"},
		"presence rule":                {func(t *awsreg.Target) { t.Rotation.Rule = "mint-mark" }, "topic rule"},
		"topic for all":                {func(t *awsreg.Target) { t.Rotation.Topic = "alerts" }, "a topic of its own"},
		"topic of a part":              {func(t *awsreg.Target) { t.Rotation.Topic = "alerts/x<thing>" }, "a topic of its own"},
		"topic twice":                  {func(t *awsreg.Target) { t.Rotation.Topic = "<thing>/<thing>" }, "a topic of its own"},
		"topic with wildcard":          {func(t *awsreg.Target) { t.Rotation.Topic = "+/<thing>" }, "wildcards"},
		"topic with variable":          {func(t *awsreg.Target) { t.Rotation.Topic = "${iot:ClientId}/<thing>" }, "wildcards or variables"},
		"deep topic":                   {func(t *awsreg.Target) { t.Rotation.Topic = "<thing>" + strings.Repeat("/a", 8) }, "8 levels"},
		"long topic":                   {func(t *awsreg.Target) { t.Rotation.Topic = "<thing>/" + strings.Repeat("a", 128) }, "256 characters"},
		"provider name":                {func(t *awsreg.Target) { t.Provider.Name = "a b" }, "certificate provider"},
		"provider without function":    {func(t *awsreg.Target) { t.Provider.Function = "" }, "no function"},
		"negative quota":               {func(t *awsreg.Target) { t.QuotaScale = -1 }, "quota scale"},
		"no quota":                     {func(t *awsreg.Target) { t.QuotaScale = math.NaN() }, "quota scale"},
	} {
		target := everything("http://127.0.0.1:1")
		test.change(&target)
		if err := target.Validate(); err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), `"line-a"`) {
			t.Errorf("%s: want %q, got %v", name, test.want, err)
		}
	}
	if err := (awsreg.Target{}).Validate(); err == nil {
		t.Error("a target of nothing")
	}
}

// A CA in DEFAULT mode may move to another account once it is deleted in the
// first.
func TestDefaultModeMoves(t *testing.T) {
	from := everything("http://127.0.0.1:1")
	from.CAs = from.CAs[:1]
	to := from
	to.Name, to.AccountID = "line-b", second.ID
	if err := awsreg.ValidateTargets([]awsreg.Target{from, to}); err == nil {
		t.Error("two accounts in DEFAULT mode")
	}
	for state, refused := range map[string]bool{awsreg.StateInactive: true, awsreg.StateDeleted: false} {
		from.CAs = []awsreg.CA{from.CAs[0]}
		from.CAs[0].State = state
		if err := awsreg.ValidateTargets([]awsreg.Target{from, to}); (err != nil) != refused {
			t.Errorf("%s in the first: %v", state, err)
		}
	}
}

// The configuration alone shows what AWS would refuse of fleets and what goes
// with them.
func TestDoctorOfFleets(t *testing.T) {
	w, good := newFullWorld(t)
	r := w.registrar(first)
	if findings := must(r.Doctor(t.Context(), good))(t); len(findings) != 0 {
		t.Errorf("findings on a good target: %v", findings)
	}
	for name, test := range map[string]struct {
		change   func(*awsreg.Target)
		severity awsreg.Severity
		rule     string
	}{
		"role is none":            {func(t *awsreg.Target) { t.Fleets[0].RoleARN = "mintmark" }, awsreg.Refused, "role"},
		"role is a user":          {func(t *awsreg.Target) { t.Fleets[0].RoleARN = "arn:aws:iam::" + first.ID + ":user/mintmark" }, awsreg.Refused, "role"},
		"role of another account": {func(t *awsreg.Target) { t.Fleets[0].RoleARN = "arn:aws:iam::" + second.ID + ":role/mintmark" }, awsreg.Refused, "role"},
		"hook of another region":  {func(t *awsreg.Target) { t.Fleets[0].Hook = "arn:aws:lambda:us-east-1:" + first.ID + ":function:f" }, awsreg.Refused, "function"},
		"rotation hook elsewhere": {func(t *awsreg.Target) {
			t.Fleets[0].RotationHook = strings.Replace(lambdaARN("f"), first.ID, second.ID, 1)
		}, awsreg.Refused, "function"},
		"hook without a name":          {func(t *awsreg.Target) { t.Fleets[0].Hook = lambdaARN("") }, awsreg.Refused, "function"},
		"presence of another region":   {func(t *awsreg.Target) { t.Rotation.Presence = "arn:aws:lambda:us-east-1:" + first.ID + ":function:f" }, awsreg.Refused, "function"},
		"provider of another region":   {func(t *awsreg.Target) { t.Provider.Function = "arn:aws:lambda:us-east-1:" + first.ID + ":function:f" }, awsreg.Refused, "function"},
		"three attributes, no type":    {func(t *awsreg.Target) { t.Fleets[1].Attributes = map[string]string{"a": "1", "b": "2"} }, awsreg.Refused, "attributes"},
		"attribute value":              {func(t *awsreg.Target) { t.Fleets[0].Attributes = map[string]string{"a": "two words"} }, awsreg.Refused, "attributes"},
		"attribute name":               {func(t *awsreg.Target) { t.Fleets[0].Attributes = map[string]string{"": "1"} }, awsreg.Refused, "attributes"},
		"eleven groups":                {func(t *awsreg.Target) { t.Fleets[0].Groups = strings.Split("a b c d e f g h i j k", " ") }, awsreg.Refused, "groups"},
		"eleven groups of registering": {func(t *awsreg.Target) { t.CAs[2].Register.Groups = strings.Split("a b c d e f g h i j k", " ") }, awsreg.Refused, "groups"},
		"policy too long": {func(t *awsreg.Target) {
			t.Fleets[0].PolicyDocument = `{"Statement":[{"Sid":"` + strings.Repeat("x", 2048) + `"}]}`
		}, awsreg.Refused, "policy-size"},
		"template too long": {func(t *awsreg.Target) {
			t.Fleets[0].Attributes = make(map[string]string)
			for i := range 14 {
				t.Fleets[0].Attributes[strings.Repeat("a", i+1)] = strings.Repeat("x", 800)
			}
		}, awsreg.Refused, "template-size"},
		"one function for both hooks": {func(t *awsreg.Target) { t.Fleets[0].RotationHook = t.Fleets[0].Hook }, awsreg.Advice, "rotation-hook"},
		"long prefix":                 {func(t *awsreg.Target) { t.Fleets[0].ThingPrefix = strings.Repeat("x", 100) }, awsreg.Advice, "thing-name"},
	} {
		target := everything(w.sim.ControlURL())
		test.change(&target)
		findings := must(r.Doctor(t.Context(), target))(t)
		for _, f := range findings {
			if f.Severity != test.severity || f.Rule != test.rule || f.Text == "" || f.Severity == awsreg.Refused && f.AWS == "" {
				t.Errorf("%s: finding %+v", name, f)
			}
		}
		if len(findings) == 0 {
			t.Errorf("%s: want %s of %s, found nothing", name, test.severity, test.rule)
		}
		if test.severity != awsreg.Refused {
			continue
		}
		if _, err := r.Apply(t.Context(), target, nil); err == nil || !strings.Contains(err.Error(), "nothing was changed") {
			t.Errorf("%s: applied: %v", name, err)
		}
	}
	if calls := mutating(w.sim.Calls()); len(calls) != 0 {
		t.Errorf("called %v", calls)
	}
	// The CAs of one subject are counted, those that are to be deleted not.
	target := everything(w.sim.ControlURL())
	target.CAs = nil
	for i := range 11 {
		name := strings.Repeat("i", i+1)
		w.issuers[name] = newAuthority(t, "same subject")
		w.issuers[name].Name = name
		target.CAs = append(target.CAs, awsreg.CA{Issuer: name, Mode: awsreg.ModeSNIOnly, Use: awsreg.UseNone})
	}
	if findings := must(r.Doctor(t.Context(), target))(t); len(findings) != 1 || findings[0].Rule != "same-subject" {
		t.Errorf("eleven of one subject: %v", findings)
	}
	target.CAs[3].State = awsreg.StateDeleted
	if findings := must(r.Doctor(t.Context(), target))(t); len(findings) != 0 {
		t.Errorf("ten of one subject: %v", findings)
	}
}
