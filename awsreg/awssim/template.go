package awssim

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"mintmark/internal/pattern"
)

// maxTemplate is the longest template body (API reference, RegistrationConfig and
// CreateProvisioningTemplate).
const maxTemplate = 10240

// Bounds of one evaluation, which are the simulator's own: the nesting of intrinsic
// functions, how many values are computed, and their characters in all. Fn::Sub may
// name the same long value hundreds of times, and its own map may hold Fn::Sub again.
const (
	maxDepth  = 20
	maxValues = 10000
	maxOutput = 1 << 20
)

// templateDoc is a parsed provisioning template (AWS IoT developer guide,
// provision-template).
type templateDoc struct {
	Parameters          map[string]templateParameter
	Mappings            map[string]map[string]map[string]any
	Resources           map[string]templateResource
	DeviceConfiguration map[string]any
}

type templateParameter struct {
	Type        string
	Default     *string
	Description string
}

type templateResource struct {
	Type             string
	Properties       map[string]any
	OverrideSettings map[string]string
}

// parseTemplate reads a template and checks its shape. Whether its references
// resolve shows only when it runs, here as at AWS.
func parseTemplate(body string) (*templateDoc, error) {
	if len(body) > maxTemplate {
		return nil, invalid("the template body has %d characters, the limit is %d", len(body), maxTemplate)
	}
	var doc templateDoc
	if err := decodeStrict([]byte(body), &doc); err != nil {
		return nil, invalid("Invalid template body: %v", err)
	}
	if len(doc.Resources) == 0 {
		return nil, invalid("Invalid template body: no Resources")
	}
	for name, p := range doc.Parameters {
		if p.Type != "String" {
			return nil, invalid("Invalid template body: parameter %q must be of Type String", clip(name, 64))
		}
	}
	certs := 0
	for name, r := range doc.Resources {
		switch r.Type {
		case "AWS::IoT::Thing", "AWS::IoT::Policy":
		case "AWS::IoT::Certificate":
			certs++
		default:
			return nil, invalid("Invalid template body: resource %q is of the unknown Type %q", clip(name, 64), clip(r.Type, 64))
		}
		if err := checkOverrides(name, r); err != nil {
			return nil, err
		}
	}
	if certs != 1 {
		return nil, invalid("Invalid template body: want exactly one resource of Type AWS::IoT::Certificate, found %d", certs)
	}
	for k, v := range doc.DeviceConfiguration {
		// The answer of RegisterThing is a map of strings (AWS IoT developer guide,
		// fleet-provision-api). What becomes of other values is not documented.
		switch v := v.(type) {
		case string:
			continue
		case map[string]any:
			if len(v) == 1 && isFunction(v) {
				continue
			}
		}
		return nil, noOperation("DeviceConfiguration values other than strings: " + clip(k, 64))
	}
	return &doc, nil
}

// overridable are the properties that OverrideSettings may name, and what it may
// say (AWS IoT developer guide, provision-template).
var overridable = map[string]map[string][]string{
	"AWS::IoT::Thing": {
		"AttributePayload": {"DO_NOTHING", "REPLACE", "FAIL", "MERGE"},
		"ThingGroups":      {"DO_NOTHING", "REPLACE", "FAIL", "MERGE"},
		"ThingTypeName":    {"DO_NOTHING", "REPLACE", "FAIL"},
	},
	"AWS::IoT::Certificate": {"Status": {"DO_NOTHING", "REPLACE", "FAIL"}},
}

func checkOverrides(name string, r templateResource) error {
	for k, v := range r.OverrideSettings {
		may, ok := overridable[r.Type][k]
		if !ok {
			return invalid("Invalid template body: %q of Type %s has no OverrideSettings %s", clip(name, 64), r.Type, clip(k, 64))
		}
		if !slices.Contains(may, v) {
			return invalid("Invalid template body: OverrideSettings %s of %q must be one of %s", k, clip(name, 64), strings.Join(may, ", "))
		}
	}
	return nil
}

func isFunction(v map[string]any) bool {
	for k := range v {
		if k != "Ref" && !strings.HasPrefix(k, "Fn::") {
			return false
		}
	}
	return true
}

// templateEnv resolves the intrinsic functions of one run.
type templateEnv struct {
	doc    *templateDoc
	params map[string]string
	values int // computed so far
	output int // characters of strings computed so far
}

// spend counts a computed value against the bounds of the run.
func (e *templateEnv) spend(n int) error {
	e.values++
	e.output += n
	if e.values > maxValues || e.output > maxOutput {
		return invalid("the simulator evaluates at most %d values of %d characters in all for one template", maxValues, maxOutput)
	}
	return nil
}

// text resolves a property that must be a string.
func (e *templateEnv) text(v any) (string, error) {
	out, err := e.resolve(v, 0)
	if err != nil {
		return "", err
	}
	s, ok := out.(string)
	if !ok {
		return "", fmt.Errorf("want a string, found %s", describe(v))
	}
	return s, nil
}

// texts resolves a property that must be a list of strings.
func (e *templateEnv) texts(v any) ([]string, error) {
	out, err := e.resolve(v, 0)
	if err != nil {
		return nil, err
	}
	list, ok := out.([]string)
	if !ok {
		return nil, fmt.Errorf("want a list of strings, found %s", describe(v))
	}
	return list, nil
}

// resolve evaluates v to a string or a list of strings. Ref and the functions are
// those of the developer guide, provision-template; for JITP only Ref and Fn::Join
// appear in AWS's examples, the others are documented for fleet templates.
func (e *templateEnv) resolve(v any, depth int) (any, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("functions are nested more than %d deep", maxDepth)
	}
	switch v := v.(type) {
	case string:
		return v, e.spend(len(v))
	case []any:
		out := make([]string, len(v))
		for i := range v {
			s, err := e.resolve(v[i], depth+1)
			if err != nil {
				return nil, err
			}
			text, ok := s.(string)
			if !ok {
				return nil, fmt.Errorf("a list of lists is not a value")
			}
			out[i] = text
		}
		return out, nil
	case map[string]any:
		if len(v) == 1 {
			for name, arg := range v {
				return e.function(name, arg, depth)
			}
		}
	}
	return nil, fmt.Errorf("cannot evaluate %s", describe(v))
}

func (e *templateEnv) function(name string, arg any, depth int) (any, error) {
	if name == "Ref" {
		return e.ref(arg)
	}
	if name == "Fn::Sub" {
		return e.sub(arg, depth)
	}
	list, ok := arg.([]any)
	if !ok {
		return nil, fmt.Errorf("%s wants a list of arguments", name)
	}
	args := make([]any, len(list))
	for i := range list {
		if n, ok := list[i].(float64); ok && name == "Fn::Select" && i == 0 && n == math.Trunc(n) {
			args[i] = strconv.FormatFloat(n, 'f', -1, 64) // the index may be a number
			continue
		}
		v, err := e.resolve(list[i], depth+1)
		if err != nil {
			return nil, err
		}
		args[i] = v
	}
	str := func(i int) string { s, _ := args[i].(string); return s }
	switch {
	case name == "Fn::Join" && len(args) == 2:
		if parts, ok := args[1].([]string); ok {
			n := len(str(0)) * len(parts)
			for _, p := range parts {
				n += len(p)
			}
			if err := e.spend(n); err != nil {
				return nil, err
			}
			return strings.Join(parts, str(0)), nil
		}
	case name == "Fn::Select" && len(args) == 2:
		parts, ok := args[1].([]string)
		n, err := strconv.Atoi(str(0))
		if ok && err == nil && n >= 0 && n < len(parts) {
			return parts[n], nil
		}
	case name == "Fn::Split" && len(args) == 2:
		if _, ok := args[1].(string); ok && str(0) != "" {
			return strings.Split(str(1), str(0)), nil
		}
	case name == "Fn::FindInMap" && len(args) == 3:
		if s, ok := e.doc.Mappings[str(0)][str(1)][str(2)].(string); ok {
			return s, nil
		}
	}
	return nil, fmt.Errorf("cannot evaluate %s %s", name, describe(arg))
}

// ref resolves a parameter.
func (e *templateEnv) ref(arg any) (any, error) {
	name, ok := arg.(string)
	if !ok {
		return nil, fmt.Errorf("a Ref wants the name of a parameter")
	}
	if p, declared := e.doc.Parameters[name]; declared {
		s, ok := e.params[name]
		if !ok && p.Default != nil {
			s, ok = *p.Default, true
		}
		if ok {
			return s, e.spend(len(s))
		}
	}
	return nil, unresolved(name)
}

// unresolved is the error of RegisterThing that CloudTrail shows for a parameter
// without a value (security.stackexchange question 272476).
func unresolved(name string) error {
	return invalid("Cannot resolve reference value: {Ref=%s}", clip(name, 128))
}

var subPattern = pattern.New(`\$\{([^}]*)\}`)

// sub resolves Fn::Sub: a string, or a string and a map of further names.
func (e *templateEnv) sub(arg any, depth int) (any, error) {
	text, ok := arg.(string)
	names := map[string]any{}
	if list, isList := arg.([]any); isList && len(list) == 2 {
		text, ok = list[0].(string)
		m, isMap := list[1].(map[string]any)
		if !isMap {
			ok = false
		}
		names = m
	}
	if !ok {
		return nil, fmt.Errorf("Fn::Sub wants a string, or a string and a map")
	}
	var out strings.Builder
	known := map[string]string{}
	last := 0
	for _, m := range subPattern.FindAllStringSubmatchIndex(text, -1) {
		out.WriteString(text[last:m[0]])
		last = m[1]
		name := text[m[2]:m[3]]
		s, seen := known[name]
		if !seen {
			var v any
			var err error
			if node, given := names[name]; given {
				v, err = e.resolve(node, depth+1)
			} else {
				v, err = e.ref(name)
			}
			if err != nil {
				return nil, err
			}
			if s, ok = v.(string); !ok {
				return nil, fmt.Errorf("${%s} is not a string", clip(name, 64))
			}
			known[name] = s
		}
		if err := e.spend(len(s)); err != nil {
			return nil, err
		}
		out.WriteString(s)
	}
	out.WriteString(text[last:])
	return out.String(), e.spend(len(text))
}

func describe(v any) string {
	b, _ := json.Marshal(v)
	return clip(string(b), 200)
}
