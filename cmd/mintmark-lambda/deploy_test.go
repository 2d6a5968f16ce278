package main

import (
	"io/fs"
	"slices"
	"testing"

	"github.com/goccy/go-yaml"

	"mintmark/deploy"
)

// TestDeployedEnvironment: each function that deploy/aws makes has a handler of
// this bundle, is given what that needs, and nothing that it would ignore.
func TestDeployedEnvironment(t *testing.T) {
	names, err := fs.Glob(deploy.AWS, "aws/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for _, name := range names {
		text, err := deploy.AWS.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var template struct {
			Resources map[string]struct {
				Type       string `yaml:"Type"`
				Properties struct {
					Handler     string `yaml:"Handler"`
					Environment struct {
						Variables map[string]any `yaml:"Variables"`
					} `yaml:"Environment"`
				} `yaml:"Properties"`
			} `yaml:"Resources"`
		}
		if err := yaml.Unmarshal(text, &template); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for id, r := range template.Resources {
			if r.Type != "AWS::Lambda::Function" {
				continue
			}
			h, ok := handlers[r.Properties.Handler]
			if !ok {
				t.Errorf("%s: %s has the handler %q", name, id, r.Properties.Handler)
			}
			seen[r.Properties.Handler] = true
			variables := r.Properties.Environment.Variables
			for _, needed := range h.needs {
				if variables[needed] == nil {
					t.Errorf("%s: %s lacks %s", name, id, needed)
				}
			}
			for variable := range variables {
				if !slices.Contains(h.needs, variable) && !slices.Contains(h.takes, variable) {
					t.Errorf("%s: %s is given %s, which its handler %s ignores", name, id, variable, r.Properties.Handler)
				}
			}
		}
	}
	if len(seen) != len(handlers) {
		t.Errorf("deployed are %v, handlers are %v", seen, handlerNames())
	}
}
