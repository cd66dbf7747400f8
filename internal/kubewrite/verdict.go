package kubewrite

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Types of conditions.
const (
	// Accepted is True when the object is applied.
	Accepted = "Accepted"
	// Programmed is True when every connected proxy that the object concerns has confirmed it.
	Programmed = "Programmed"
)

// Reasons of conditions beside the codes of problems.
const (
	reasonAccepted    = "Accepted"
	reasonNotAccepted = "NotAccepted"
	reasonConfirmed   = "Confirmed"
	reasonWaiting     = "Waiting"
	reasonNobody      = "NobodyConcerned"
	reasonUnsure      = "NotAllKnown"
)

// Bounds of a status.
const (
	maxProblems = 20
	maxWords    = 500  // bytes of one text of a problem
	maxMessage  = 1000 // bytes of the message of a condition, and of an Event
)

// verdict is what stands in the status of an object.
type verdict struct {
	ObservedGeneration int64              `json:"observedGeneration"`
	Programmed         string             `json:"programmed,omitempty"`
	Conditions         []metav1.Condition `json:"conditions"`
	Problems           []wrong            `json:"problems,omitempty"`
}

// wrong is a problem as it stands there.
type wrong struct {
	Severity mesh.Severity `json:"severity"`
	Code     string        `json:"code"`
	Field    string        `json:"field,omitempty"`
	Message  string        `json:"message"`
	Hint     string        `json:"hint,omitempty"`
}

// readVerdict returns what the status of an object says of ours; nothing where somebody else has made something else of it.
func readVerdict(status []byte) verdict {
	var v verdict
	if json.Unmarshal(status, &v) != nil {
		return verdict{}
	}
	return v
}

// of returns a condition, or nil.
func (v *verdict) of(kind string) *metav1.Condition {
	for i := range v.Conditions {
		if v.Conditions[i].Type == kind {
			return &v.Conditions[i]
		}
	}
	return nil
}

// verdictOf says in the words of a status what there is to say of an object. Conditions that were so before are so since then.
func verdictOf(j *mesh.Judged, refused string, before verdict, now time.Time) verdict {
	v := verdict{ObservedGeneration: j.Generation}
	problems := slices.Clone(j.Problems)
	slices.SortStableFunc(problems, func(a, b mesh.Problem) int { return cmp.Compare(a.Severity, b.Severity) }) // errors first
	var errors, warnings, refusals []mesh.Problem
	for _, p := range problems {
		switch {
		case p.Code == refused:
			refusals = append(refusals, p)
		case p.Severity == mesh.Error:
			errors = append(errors, p)
		default:
			warnings = append(warnings, p)
		}
	}
	for _, p := range slices.Concat(errors, refusals, warnings) {
		if len(v.Problems) < maxProblems {
			v.Problems = append(v.Problems, wrong{p.Severity, p.Code, clip(p.Field, maxWords), clip(p.Message, maxWords), clip(p.Hint, maxWords)})
		}
	}
	say := func(kind string, status metav1.ConditionStatus, reason, message string) {
		c := metav1.Condition{
			Type: kind, Status: status, Reason: reason, Message: clip(message, maxMessage), ObservedGeneration: j.Generation,
			LastTransitionTime: metav1.NewTime(now.UTC().Truncate(time.Second)),
		}
		if b := before.of(kind); b != nil && b.Status == status && !b.LastTransitionTime.IsZero() {
			c.LastTransitionTime = b.LastTransitionTime
		}
		v.Conditions = append(v.Conditions, c)
	}
	if len(errors) > 0 {
		say(Accepted, metav1.ConditionFalse, Reason(errors[0].Code), words(errors))
		say(Programmed, metav1.ConditionFalse, reasonNotAccepted, "it is not applied")
		return v
	}
	message := "it is applied"
	if len(warnings) > 0 {
		message += "; " + words(warnings)
	}
	say(Accepted, metav1.ConditionTrue, reasonAccepted, message)
	if j.Reach == nil {
		say(Programmed, metav1.ConditionUnknown, reasonUnsure, "nobody has counted yet which proxies have it")
		return v
	}
	status, reason, message := reached(j.Reach, refusals)
	v.Programmed = fmt.Sprintf("%d of %d", j.Reach.Confirmed, j.Reach.Concerned)
	if j.Reach.Unsure != "" {
		v.Programmed += " or more"
	}
	say(Programmed, status, reason, message)
	return v
}

// reached says whether all proxies have what an object says.
func reached(r *mesh.Reach, refusals []mesh.Problem) (status metav1.ConditionStatus, reason, message string) {
	message = fmt.Sprintf("in %d of %d proxies", r.Confirmed, r.Concerned)
	switch {
	case len(refusals) > 0:
		return metav1.ConditionFalse, Reason(refusals[0].Code), message + "; " + words(refusals)
	case r.Unsure != "":
		return metav1.ConditionUnknown, reasonUnsure, fmt.Sprintf("in at least %d of %d proxies: %s", r.Confirmed, r.Concerned, r.Unsure)
	case r.Concerned == 0:
		return metav1.ConditionTrue, reasonNobody, message + ": none that is connected has asked for what it is about"
	case r.Confirmed < r.Concerned:
		return metav1.ConditionFalse, reasonWaiting, message
	default:
		return metav1.ConditionTrue, reasonConfirmed, message
	}
}

// words says what the first of some problems is, and how many more there are.
func words(problems []mesh.Problem) string {
	p := problems[0]
	text := p.Message
	if p.Field != "" {
		text = p.Field + ": " + text
	}
	if p.Position.Line > 0 {
		text = fmt.Sprintf("%s (line %d)", text, p.Position.Line)
	}
	if p.Hint != "" {
		text += "; hint: " + p.Hint
	}
	if more := len(problems) - 1; more > 0 {
		text += fmt.Sprintf("; and %d more", more)
	}
	return text
}

// Reason returns the code of a problem in the form that reasons have: "unknown-field" is UnknownField.
func Reason(code string) string {
	var b strings.Builder
	for word := range strings.SplitSeq(code, "-") {
		if word != "" {
			b.WriteString(strings.ToUpper(word[:1]) + word[1:])
		}
	}
	return b.String()
}

// clip bounds a text, in bytes.
func clip(text string, most int) string {
	text = strings.ToValidUTF8(text, "�")
	if len(text) <= most {
		return text
	}
	end := most - len("…")
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + "…"
}

// differs is how a verdict differs from what stands in the status.
type differs int

const (
	same     differs = iota
	counts           // only in how many proxies there are
	inWords          // in what people wait for, of how far it is
	inMatter         // in what is said of the object itself
)

// compare tells how a verdict differs from what stands there.
func (v *verdict) compare(there verdict) differs {
	if v.ObservedGeneration != there.ObservedGeneration || !slices.Equal(v.Problems, there.Problems) || !sameCondition(v.of(Accepted), there.of(Accepted)) {
		return inMatter
	}
	a, b := v.of(Programmed), there.of(Programmed)
	if b != nil && a.Reason == reasonUnsure && a.ObservedGeneration == b.ObservedGeneration && *a != *b {
		return counts // it passes, or it lasts
	}
	if b == nil || a.Status != b.Status || a.Reason != b.Reason || a.ObservedGeneration != b.ObservedGeneration {
		return inWords
	}
	if a.Message != b.Message || v.Programmed != there.Programmed {
		return counts
	}
	return same
}

func sameCondition(a, b *metav1.Condition) bool {
	return a != nil && b != nil && a.Status == b.Status && a.Reason == b.Reason && a.Message == b.Message && a.ObservedGeneration == b.ObservedGeneration
}
