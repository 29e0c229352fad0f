package openapi

import (
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"go.yaml.in/yaml/v3"

	"github.com/thronghq/throng/proto"
)

func loaded(t *testing.T) *openapi3.T {
	t.Helper()
	text, err := toJSON(description)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := openapi3.NewLoader().LoadFromData(text)
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func TestDescriptionIsValid(t *testing.T) {
	if err := loaded(t).Validate(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestDescriptionIsComplete holds each operation to what all of them promise.
func TestDescriptionIsComplete(t *testing.T) {
	doc := loaded(t)
	var tags []string
	for _, tag := range doc.Tags {
		tags = append(tags, tag.Name)
	}
	ids := make(map[string]string)
	for path, item := range doc.Paths.Map() {
		for method, operation := range item.Operations() {
			name := method + " " + path
			if at, twice := ids[operation.OperationID]; twice || operation.OperationID == "" {
				t.Errorf("%s: the operationId %q is also that of %q", name, operation.OperationID, at)
			}
			ids[operation.OperationID] = name
			if operation.Summary == "" || len(operation.Tags) != 1 || !slices.Contains(tags, operation.Tags[0]) {
				t.Errorf("%s has no summary, or not one of the tags", name)
			}
			checkAnswers(t, name, doc, operation)
			checkBody(t, name, operation)
			for _, parameter := range append(slices.Clone(item.Parameters), operation.Parameters...) {
				if parameter.Value.Description == "" {
					t.Errorf("%s: parameter %s is not described", name, parameter.Value.Name)
				}
			}
		}
	}
}

func checkAnswers(t *testing.T, name string, doc *openapi3.T, operation *openapi3.Operation) {
	answers := operation.Responses.Map()
	expected := []string{"422"} // unknown query parameters
	if operation.Tags[0] != "Documentation" {
		expected = append(expected, "429", "500", "503")
	}
	if operation.Security == nil || slices.ContainsFunc(*operation.Security, func(s openapi3.SecurityRequirement) bool { return len(s) > 0 }) {
		expected = append(expected, "401", "403")
	}
	if operation.RequestBody != nil {
		expected = append(expected, "400", "413", "415")
	}
	for _, status := range expected {
		if answers[status] == nil {
			t.Errorf("%s does not say what %s means", name, status)
		}
	}
	for status, answer := range answers {
		if answer.Value.Headers["Trace-Id"] == nil {
			t.Errorf("%s: %s has no Trace-Id", name, status)
		}
		if status >= "400" && answer.Value.Content["application/problem+json"] == nil {
			t.Errorf("%s: %s is no problem", name, status)
		}
	}
}

func checkBody(t *testing.T, name string, operation *openapi3.Operation) {
	if operation.RequestBody == nil {
		return
	}
	media := operation.RequestBody.Value.Content["application/json"]
	if media == nil || media.Schema.Value.AdditionalProperties.Has == nil || *media.Schema.Value.AdditionalProperties.Has {
		t.Errorf("%s takes a body with unknown fields", name)
	}
}

// TestExamples holds the examples to their schemas.
func TestExamples(t *testing.T) {
	doc := loaded(t)
	check := func(name string, media *openapi3.MediaType, value any) {
		if value == nil {
			return
		}
		if err := media.Schema.Value.VisitJSON(value, openapi3.EnableJSONSchema2020()); err != nil {
			t.Errorf("%s: an example does not go with its schema: %v", name, err)
		}
	}
	all := func(name string, content openapi3.Content) {
		for _, media := range content {
			check(name, media, media.Example)
			for _, example := range media.Examples {
				check(name, media, example.Value.Value)
			}
		}
	}
	for path, item := range doc.Paths.Map() {
		for method, operation := range item.Operations() {
			if operation.RequestBody != nil {
				all(method+" "+path, operation.RequestBody.Value.Content)
			}
			for status, answer := range operation.Responses.Map() {
				all(method+" "+path+" "+status, answer.Value.Content)
			}
		}
	}
}

// TestErrorsAreTheRegistry holds the table of errors to proto's: those that may
// answer a request, in its order.
func TestErrorsAreTheRegistry(t *testing.T) {
	type entry struct {
		Status int    `yaml:"status"`
		Retry  bool   `yaml:"retry"`
		Title  string `yaml:"title"`
	}
	var described struct {
		Components struct {
			Schemas struct {
				ErrorCode struct {
					Enum   []string         `yaml:"enum"`
					Errors map[string]entry `yaml:"x-errors"`
				} `yaml:"ErrorCode"`
			} `yaml:"schemas"`
		} `yaml:"components"`
	}
	if err := yaml.Unmarshal(description, &described); err != nil {
		t.Fatal(err)
	}
	var names []string
	entries := make(map[string]entry)
	for _, code := range proto.Codes {
		if code.HTTP != 0 {
			names = append(names, code.Name)
			entries[code.Name] = entry{code.HTTP, code.Retry, code.Reason}
		}
	}
	got := described.Components.Schemas.ErrorCode
	if !slices.Equal(got.Enum, names) {
		t.Errorf("the enum is\n%q, want\n%q", got.Enum, names)
	}
	for name, want := range entries {
		if got.Errors[name] != want {
			t.Errorf("%s is %+v, want %+v", name, got.Errors[name], want)
		}
	}
	if len(got.Errors) != len(entries) {
		t.Errorf("%d errors are described, want %d", len(got.Errors), len(entries))
	}
}

func TestJSONSaysWhatYAMLSays(t *testing.T) {
	text, err := toJSON(description)
	if err != nil {
		t.Fatal(err)
	}
	var fromJSON, fromYAML any
	if err := json.Unmarshal(text, &fromJSON); err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(description, &fromYAML); err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(fromYAML)
	if err != nil {
		t.Fatal(err)
	}
	var roundTrip any
	if err := json.Unmarshal(again, &roundTrip); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(fromJSON, roundTrip) {
		t.Error("the JSON does not say what the YAML says")
	}
	if register, sessions := strings.Index(string(text), `"/register"`), strings.Index(string(text), `"/sessions"`); register < 0 || register > sessions {
		t.Error("the paths are not in the order of the YAML")
	}
	for _, wrong := range []string{"a: [", "a: .nan", "? [1]\n: 2", "a: !!timestamp x"} {
		if text, err := toJSON([]byte(wrong)); err == nil && !json.Valid(text) {
			t.Errorf("%q became %q", wrong, text)
		}
	}
}

func TestHandler(t *testing.T) {
	handler := Handler(http.NotFoundHandler())
	get := func(method, path string, header http.Header) *http.Response {
		r := httptest.NewRequest(method, path, nil)
		r.Header = header
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		return w.Result()
	}
	body := func(r *http.Response) string {
		var reader io.Reader = r.Body
		if r.Header.Get("Content-Encoding") == "gzip" {
			unzipped, err := gzip.NewReader(r.Body)
			if err != nil {
				t.Fatal(err)
			}
			reader = unzipped
		}
		text, err := io.ReadAll(reader)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	for path, contentType := range map[string]string{
		YAMLPath: "application/yaml; charset=utf-8", JSONPath: "application/json; charset=utf-8",
		DocsPath: "text/html; charset=utf-8", DocsPath + "/docs.css": "text/css; charset=utf-8",
		DocsPath + "/docs.js": "text/javascript; charset=utf-8", DocsPath + "/favicon.svg": "image/svg+xml",
	} {
		plain := get(http.MethodGet, path, nil)
		text := body(plain)
		if plain.StatusCode != http.StatusOK || plain.Header.Get("Content-Type") != contentType || text == "" {
			t.Errorf("%s: %d, %s, %d bytes", path, plain.StatusCode, plain.Header.Get("Content-Type"), len(text))
		}
		if policy := plain.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") {
			t.Errorf("%s: the policy is %q", path, policy)
		}
		small := get(http.MethodGet, path, http.Header{"Accept-Encoding": {"br, gzip;q=0.5"}})
		if small.Header.Get("Content-Encoding") != "gzip" || body(small) != text || small.Header.Get("Vary") != "Accept-Encoding" {
			t.Errorf("%s: not the same compressed", path)
		}
		tag, smallTag := plain.Header.Get("ETag"), small.Header.Get("ETag")
		if tag == smallTag || !strings.HasPrefix(tag, `"`) {
			t.Errorf("%s: the tags are %s and %s", path, tag, smallTag)
		}
		for _, match := range []string{tag, `"x", ` + tag, "W/" + tag, "*"} {
			again := get(http.MethodGet, path, http.Header{"If-None-Match": {match}})
			if again.StatusCode != http.StatusNotModified || body(again) != "" || again.Header.Get("ETag") != tag {
				t.Errorf("%s with If-None-Match %s: %d", path, match, again.StatusCode)
			}
		}
		if changed := get(http.MethodGet, path, http.Header{"If-None-Match": {smallTag}}); changed.StatusCode != http.StatusOK {
			t.Errorf("%s: the compressed form's tag stands for the plain one", path)
		}
		if head := get(http.MethodHead, path, nil); head.StatusCode != http.StatusOK || body(head) != "" || head.ContentLength != int64(len(text)) {
			t.Errorf("%s: HEAD answers %d with %d bytes announced", path, head.StatusCode, head.ContentLength)
		}
	}
	for _, refused := range []string{"gzip;q=0", "identity", "gzip; q=0.0", ""} {
		if r := get(http.MethodGet, DocsPath, http.Header{"Accept-Encoding": {refused}}); r.Header.Get("Content-Encoding") != "" {
			t.Errorf("Accept-Encoding %q got %s", refused, r.Header.Get("Content-Encoding"))
		}
	}
	for _, missing := range []string{DocsPath + "/", DocsPath + "/none.js", DocsPath + "/index.html", "/api/v1/openapi"} {
		if r := get(http.MethodGet, missing, nil); r.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %d", missing, r.StatusCode)
		}
	}
}
