package awssim

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// maxTemplate is the longest template body (API reference, RegistrationConfig and
// CreateProvisioningTemplate).
const maxTemplate = 10240

// maxDepth bounds the nesting of intrinsic functions.
const maxDepth = 20

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
		for k, v := range r.OverrideSettings {
			switch v {
			case "DO_NOTHING", "REPLACE", "FAIL", "MERGE":
			default:
				return nil, invalid("Invalid template body: OverrideSettings %s of %q must be DO_NOTHING, REPLACE, FAIL or MERGE", clip(k, 64), clip(name, 64))
			}
		}
	}
	if certs != 1 {
		return nil, invalid("Invalid template body: want exactly one resource of Type AWS::IoT::Certificate, found %d", certs)
	}
	return &doc, nil
}

// templateEnv resolves the intrinsic functions of one run.
type templateEnv struct {
	doc    *templateDoc
	params map[string]string
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

// resolve evaluates v to a string or a list of strings. Ref and the functions are
// those of the developer guide, provision-template; for JITP only Ref and Fn::Join
// appear in AWS's examples, the others are documented for fleet templates.
func (e *templateEnv) resolve(v any, depth int) (any, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("functions are nested more than %d deep", maxDepth)
	}
	switch v := v.(type) {
	case string:
		return v, nil
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
	if _, declared := e.doc.Parameters[name]; declared {
		if s, ok := e.params[name]; ok {
			return s, nil
		}
	}
	return nil, unresolved(name)
}

// unresolved is the error of RegisterThing that CloudTrail shows for a parameter
// without a value (security.stackexchange question 272476).
func unresolved(name string) error {
	return invalid("Cannot resolve reference value: {Ref=%s}", clip(name, 128))
}

var subPattern = regexp.MustCompile(`\$\{([^}]*)\}`)

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
	var failed error
	out := subPattern.ReplaceAllStringFunc(text, func(m string) string {
		var v any
		var err error
		name := m[2 : len(m)-1]
		if node, given := names[name]; given {
			v, err = e.resolve(node, depth+1)
		} else {
			v, err = e.ref(name)
		}
		s, isText := v.(string)
		if err == nil && !isText {
			err = fmt.Errorf("%s is not a string", m)
		}
		if err != nil && failed == nil {
			failed = err
		}
		return s
	})
	return out, failed
}

func describe(v any) string {
	b, _ := json.Marshal(v)
	return clip(string(b), 200)
}
