package lint

import (
	"slices"
	"testing"
)

func TestNeeded(t *testing.T) {
	doc, err := parseYAML([]byte(`
DependsOn: [A, B]
Properties:
  One: !Ref C
  Two: !GetAtt D.Arn
  Three: {"Fn::GetAtt": [E, Arn]}
  Four: !Sub "x-${F}-${G.Arn}-${!H}-${AWS::Region}"
  Five: !Sub ["${I}-${J}", {I: !Ref K}]
  Six: !If [Yes, !Ref L, plain M]
`))
	if err != nil {
		t.Fatal(err)
	}
	got := needed(doc)
	slices.Sort(got)
	want := []string{"!H", "A", "AWS::Region", "B", "C", "D", "E", "F", "G", "J", "K", "L"}
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestCycles(t *testing.T) {
	const head = "AWSTemplateFormatVersion: '2010-09-09'\nResources:\n"
	for text, want := range map[string]int{
		"  A: {Type: X, DependsOn: B}\n  B: {Type: X, DependsOn: C}\n  C: {Type: X}\n":                                    0,
		"  A: {Type: X, DependsOn: [B, C]}\n  B: {Type: X, DependsOn: D}\n  C: {Type: X, DependsOn: D}\n  D: {Type: X}\n": 0,
		"  A: {Type: X, DependsOn: A}\n": 1,
		"  A: {Type: X, DependsOn: B}\n  B: {Type: X, DependsOn: A}\n  C: {Type: X, DependsOn: A}\n":                                    1,
		"  A: {Type: X, DependsOn: B}\n  B: {Type: X, DependsOn: A}\n  C: {Type: X, DependsOn: [D, A]}\n  D: {Type: X, DependsOn: C}\n": 2,
		"  A: {Type: X, Properties: {P: !Ref Parameter}}\n":                                                                             0,
	} {
		found := 0
		for _, f := range check(t, []File{{Name: "stack.yaml", Data: []byte(head + text)}}, Options{}) {
			if f.Rule == "circular" {
				found++
			}
		}
		if found != want {
			t.Errorf("%d cycles, want %d:\n%s", found, want, text)
		}
	}
}
