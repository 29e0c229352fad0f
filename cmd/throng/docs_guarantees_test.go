package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestPromisesNameTheirTests holds docs/guarantees.md and docs/security.md to the
// tests that they name: each is there, in its folder. Every row of a table of
// guarantees names at least one.
func TestPromisesNameTheirTests(t *testing.T) {
	name := regexp.MustCompile("`([a-z][a-z0-9/]*)\\.(Test[A-Za-z0-9]+)`")
	sources := make(map[string]string)
	source := func(folder string) string {
		if _, known := sources[folder]; !known {
			files, err := filepath.Glob(filepath.Join("../..", folder, "*_test.go"))
			if err != nil {
				t.Fatal(err)
			}
			var all strings.Builder
			for _, file := range files {
				b, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				all.Write(b)
			}
			sources[folder] = all.String()
		}
		return sources[folder]
	}
	for page, least := range map[string]int{"guarantees.md": 90, "security.md": 30} {
		b, err := os.ReadFile(filepath.Join("../../docs", page))
		if err != nil {
			t.Fatal(err)
		}
		found := name.FindAllStringSubmatch(string(b), -1)
		for _, m := range found {
			if !strings.Contains(source(m[1]), "func "+m[2]+"(t *testing.T)") {
				t.Errorf("%s names %s in %s, which is not there", page, m[2], m[1])
			}
		}
		if len(found) < least {
			t.Errorf("%s names only %d tests", page, len(found))
		}
		if page != "guarantees.md" {
			continue
		}
		for line := range strings.Lines(string(b)) {
			row := strings.HasPrefix(line, "| ") && !strings.Contains(line, "| tests |")
			if row && !name.MatchString(line) {
				t.Errorf("%s: no test holds %s", page, line)
			}
		}
	}
}
