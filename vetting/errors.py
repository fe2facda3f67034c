"""Why a person may not use something, and why something cannot be done with a request."""

from federation.errors import Problem

__all__ = [
    "ACCESS_SUSPENDED",
    "AMOUNT_UNREADABLE",
    "CLAIMED_BY_ANOTHER",
    "CONFLICT_OF_INTEREST",
    "DAY_UNREADABLE",
    "DENIAL_CODE_UNKNOWN",
    "DESK_BROKEN",
    "DESK_FORM_FOREIGN",
    "DESK_FORM_OLD",
    "DESK_HUB_AWAY",
    "DESK_INPUT_UNFIT",
    "DESK_METHOD",
    "DESK_PAGE_UNKNOWN",
    "DESK_PERSON_UNKNOWN",
    "DESK_ROLE_NEEDED",
    "DESK_SIGN_IN_FAILED",
    "DESK_SIGN_IN_FIRST",
    "DESK_TOKEN_NEEDED",
    "DESK_TOO_FAST",
    "DESK_TOO_LARGE",
    "END_IS_PAST",
    "FLAVOUR_NEEDS_TIER",
    "FLAVOUR_NOT_AT_SITE",
    "GRANT_MOVED_ON",
    "MAPPING_MOVED_ON",
    "MORE_THAN_ASKED",
    "NEEDS_A_LOOK",
    "NOTHING_GIVEN",
    "NOT_ELIGIBLE",
    "NOT_ENDED_YET",
    "NOT_LESS",
    "NOT_STOPPED",
    "NO_BATCH_SYSTEM",
    "NO_PLACE",
    "OWN_ACCOUNT",
    "OWN_REQUEST",
    "RENEWAL_TOO_EARLY",
    "REQUEST_INCOMPLETE",
    "REQUEST_MOVED_ON",
    "REQUEST_NEEDS_TERMS",
    "REQUEST_NOT_YOURS",
    "REQUEST_OPEN_ALREADY",
    "REQUEST_UNFIT",
    "REQUEST_UNKNOWN",
    "RESOURCE_TOO_MUCH",
    "RESOURCE_UNKNOWN",
    "SITE_ASKS_MORE",
    "SITE_DOWNTIME",
    "SITE_NOT_ATTACHED",
    "SITE_NOT_OPEN",
    "SITE_UNKNOWN",
    "STOPPED_ALREADY",
    "TERMS_NOT_ACCEPTED",
    "TIER_UNKNOWN",
    "TWO_PEOPLE",
    "WORDS_NEEDED",
]


def _(message: str) -> str:
    return message


NOT_ELIGIBLE = Problem(
    code="not-eligible",
    status=403,
    text=_("You are signed in, but notebooks are not open to you yet: {missing}"),
    advice=_("The page “My access” says what is missing."),
)

FLAVOUR_NEEDS_TIER = Problem(
    code="flavour-needs-tier",
    status=403,
    text=_("The flavour {flavour} is for people of tier {tier}; yours is {yours}."),
    advice=_("Choose another flavour, or ask for access to this one."),
)

FLAVOUR_NOT_AT_SITE = Problem(
    code="flavour-not-at-site",
    status=400,
    text=_("{site} does not offer the flavour {flavour} with the environment {environment}."),
    advice=_("Choose another combination on the start form."),
)

NO_PLACE = Problem(
    code="no-place",
    status=503,
    text=_("No place of the federation offers the flavour {flavour} with the environment {environment} at the moment."),
    advice=_("Choose another combination, or try again later."),
)

TERMS_NOT_ACCEPTED = Problem(
    code="terms-not-accepted",
    status=403,
    text=_("Nothing can be started before you have accepted the terms of use."),
    advice=_("Read and accept them on the page “Terms of use”; then start again."),
)

ACCESS_SUSPENDED = Problem(
    code="access-suspended",
    status=403,
    text=_("Your access is suspended, so nothing can be started. {reason}"),
    advice=_("Your files and your quota stay. Write to support if you think that this is a mistake."),
)

SITE_ASKS_MORE = Problem(
    code="site-asks-more",
    status=403,
    text=_("{site} is not open to you yet. What is missing: {missing}."),
    advice=_("Choose another site, or ask for access to this one."),
)

SITE_NOT_OPEN = Problem(
    code="site-not-open",
    status=503,
    text=_("{site} takes no sessions at the moment: it is not certified."),
    advice=_("Choose another site, or try again another day."),
)

SITE_DOWNTIME = Problem(
    code="site-downtime",
    status=503,
    text=_("{site} is down for maintenance until {until}."),
    advice=_("Choose another site, or try again then."),
)

SITE_NOT_ATTACHED = Problem(
    code="site-not-attached",
    status=503,
    text=_("Sessions at {site} cannot be started from here yet."),
    advice=_("Choose another site."),
)


# --- requests: of the person ------------------------------------------------------------------------------------------

REQUEST_UNKNOWN = Problem(
    code="request-unknown",
    status=404,
    text=_("There is no such request, or it is not yours to see."),
    advice=_("Look at the list of requests; the reference may be wrong or old."),
)

REQUEST_MOVED_ON = Problem(
    code="request-moved-on",
    status=409,
    text=_("That cannot be done with this request any more, or not yet: it is in another state. Nothing was changed."),
    advice=_("Look at the request again; somebody else may have been faster."),
)

REQUEST_NOT_YOURS = Problem(
    code="request-not-yours",
    status=403,
    text=_("You may look at this request, but that is for somebody else to do. Nothing was changed."),
    advice=_("If you should be able to do it, write to support: a role may be missing."),
)

REQUEST_OPEN_ALREADY = Problem(
    code="request-open-already",
    status=409,
    text=_("You have a request of this kind already, and one at a time is looked at."),
    advice=_("Go on with that one, or withdraw it first."),
)

REQUEST_INCOMPLETE = Problem(
    code="request-incomplete",
    status=400,
    text=_("Something is missing: what it is for, who at home can confirm it, and what is asked for."),
    advice=_("Fill it in and send the request again."),
)

REQUEST_UNFIT = Problem(
    code="request-unfit",
    status=400,
    text=_("A text is too long or has characters that cannot be kept, or an amount is out of all bounds."),
    advice=_("Shorten it; longer things belong into a document that a link leads to."),
)

REQUEST_NEEDS_TERMS = Problem(
    code="request-needs-terms",
    status=403,
    text=_("A request can be sent once you have accepted the terms of use."),
    advice=_("Read and accept them on the page “Terms of use”."),
)

TIER_UNKNOWN = Problem(
    code="tier-unknown",
    status=400,
    text=_("There is no tier {tier} that people are admitted to by a decision."),
    advice=_("Choose one of those that the page “My access” shows."),
)

SITE_UNKNOWN = Problem(
    code="site-unknown",
    status=400,
    text=_("The federation has no site {site}."),
    advice=_("Choose one of those that the list shows."),
)

END_IS_PAST = Problem(
    code="end-is-past",
    status=400,
    text=_("What would be given would have ended already."),
    advice=_("Choose a day that is still to come."),
)

AMOUNT_UNREADABLE = Problem(
    code="amount-unreadable",
    status=400,
    text=_("“{typed}” is no amount of unit-hours."),
    advice=_("Write a number, such as 250 or 12.5."),
)

DAY_UNREADABLE = Problem(
    code="day-unreadable",
    status=400,
    text=_("“{typed}” is no day."),
    advice=_("Write the year, the month and the day, such as 2027-03-31."),
)

RENEWAL_TOO_EARLY = Problem(
    code="renewal-too-early",
    status=403,
    text=_("This can be renewed from {begins} on; until then there is time enough."),
    advice=_("Come back then; a mail will remind you. If you need more now, ask for it."),
)

# --- requests: of reviewers -------------------------------------------------------------------------------------------

OWN_REQUEST = Problem(
    code="own-request",
    status=403,
    text=_("Nobody decides about a request of their own, or about one that they filed for somebody else."),
    advice=_("Leave it to another reviewer."),
)

CONFLICT_OF_INTEREST = Problem(
    code="conflict-of-interest",
    status=403,
    text=_("Only who declares to have no conflict of interest decides about a request."),
    advice=_("If you have none, say so; else leave it to another reviewer."),
)

CLAIMED_BY_ANOTHER = Problem(
    code="claimed-by-another",
    status=409,
    text=_("Another reviewer works on this request. Nothing was changed."),
    advice=_("Ask them to put it back into the queue; an operator can do that, too."),
)

NEEDS_A_LOOK = Problem(
    code="needs-a-look",
    status=409,
    text=_(
        "This request is not approved together with others: it asks for more than the default quota, or a rule does not"
        " hold for the person. Nothing was changed."
    ),
    advice=_("Open the request, and decide about it there."),
)

TWO_PEOPLE = Problem(
    code="two-people",
    status=403,
    text=_("This is more than one reviewer approves alone, and you were the first: a second person decides."),
    advice=_("Leave it to another reviewer."),
)

WORDS_NEEDED = Problem(
    code="words-needed",
    status=400,
    text=_("Words for the person are missing: a question, a reason or an answer."),
    advice=_("Write what the other one has to know, and send it again."),
)

DENIAL_CODE_UNKNOWN = Problem(
    code="denial-code-unknown",
    status=400,
    text=_("There is no such reason for a denial."),
    advice=_("Choose one of the list."),
)

NOTHING_GIVEN = Problem(
    code="nothing-given",
    status=400,
    text=_("This approval would give nothing."),
    advice=_("Say how much, or at which sites; or deny the request with a reason."),
)

MORE_THAN_ASKED = Problem(
    code="more-than-asked",
    status=400,
    text=_("An approval gives at most what was asked for, and not for longer."),
    advice=_("Give less, or ask the person to withdraw the request and to ask for more."),
)

NOT_LESS = Problem(
    code="not-less",
    status=400,
    text=_("A reduction leaves something, and less than was given."),
    advice=_("Choose an amount between the two; to give more, let the person ask for it."),
)

NOT_ENDED_YET = Problem(
    code="not-ended-yet",
    status=409,
    text=_("What was given has not ended yet."),
    advice=_("Wait for the end, or suspend it."),
)

NO_BATCH_SYSTEM = Problem(
    code="no-batch-system",
    status=400,
    text=_("{site} has no batch system, so these cannot be chosen there: {options}."),
    advice=_("Leave them out, or choose another site."),
)

RESOURCE_TOO_MUCH = Problem(
    code="resource-too-much",
    status=400,
    text=_("{site} gives this flavour at most {limit} for {option}; you asked for {value}."),
    advice=_("Ask for less, or choose another flavour or site."),
)

RESOURCE_UNKNOWN = Problem(
    code="resource-unknown",
    status=400,
    text=_("{site} has no {option} {value}, or does not offer it here."),
    advice=_("Leave it out, or ask the site which there are."),
)

OWN_ACCOUNT = Problem(
    code="own-account",
    status=403,
    text=_("Nobody gives quota to themselves, or changes what they have. Nothing was changed."),
    advice=_("Ask another operator, or ask for it as everybody does."),
)

GRANT_MOVED_ON = Problem(
    code="grant-moved-on",
    status=409,
    text=_("That cannot be done with this grant: it is over, was changed before, or would be over at once."),
    advice=_("Look at the list again."),
)

STOPPED_ALREADY = Problem(
    code="stopped-already",
    status=409,
    text=_("Somebody stopped this person before. Nothing was changed."),
    advice=_("What still runs is being ended; look again in a moment."),
)

NOT_STOPPED = Problem(
    code="not-stopped",
    status=409,
    text=_("This person is not suspended, or not by hand. Nothing was changed."),
    advice=_("Look at the page again; a suspension by a request is ended on the page of that request."),
)

MAPPING_MOVED_ON = Problem(
    code="mapping-moved-on",
    status=409,
    text=_(
        "That cannot be done with this account any more: somebody answered already, or ended it. Nothing was changed."
    ),
    advice=_("Look at the list again."),
)


# --- the access desk --------------------------------------------------------------------------------------------------

DESK_PAGE_UNKNOWN = Problem(
    code="desk-page-unknown",
    status=404,
    text=_("The access desk has no such page."),
    advice=_("Look at what the federation offers, or at your requests."),
)

DESK_METHOD = Problem(
    code="desk-method",
    status=405,
    text=_("This address cannot be used in this way. Nothing was changed."),
    advice=_("Open the page, and use the buttons on it."),
)

DESK_ROLE_NEEDED = Problem(
    code="desk-role-needed",
    status=403,
    text=_("This part of the access desk is for others. Your attempt was written down."),
    advice=_(
        "If it should be open to you, write to support: a role may be missing. If you had it before, sign in again."
    ),
)

DESK_PERSON_UNKNOWN = Problem(
    code="desk-person-unknown",
    status=403,
    text=_("You are signed in, but the federation does not know you."),
    advice=_("Sign out and sign in again; if that does not help, write to support."),
)

DESK_SIGN_IN_FIRST = Problem(
    code="desk-sign-in-first",
    status=403,
    text=_("You are not signed in any more, so nothing was changed."),
    advice=_("Sign in, and send it again; go back in your browser to find what you wrote."),
)

DESK_SIGN_IN_FAILED = Problem(
    code="desk-sign-in-failed",
    status=403,
    text=_("The sign-in did not come to its end: it took too long, or began in another window."),
    advice=_("Sign in again. If it fails again, let your browser keep cookies of this address."),
)

DESK_TOKEN_NEEDED = Problem(
    code="desk-token-needed",
    status=401,
    text=_("This needs a token of the hub that may use the access desk. Nothing was changed."),
    advice=_(
        "Make one on the hub's page for tokens, and send it as “Authorization: Bearer”. An old one may have expired."
    ),
)

DESK_INPUT_UNFIT = Problem(
    code="desk-input-unfit",
    status=422,
    text=_("What was sent does not have the form that this address asks for. Nothing was changed."),
    advice=_("The list of errors says what is wrong with it; the description of the API says how it should be."),
)

DESK_HUB_AWAY = Problem(
    code="desk-hub-away",
    status=503,
    text=_("Who you are cannot be found out at the moment: the hub does not answer. Nothing was changed."),
    advice=_("Please try again in a minute."),
)

DESK_BROKEN = Problem(
    code="desk-broken",
    status=500,
    text=_("Something went wrong on our side."),
    advice=_("Try again in a moment, or tell support when it happened. Look first whether what you did is done."),
)

DESK_FORM_OLD = Problem(
    code="desk-form-old",
    status=403,
    text=_("This form is from an earlier sign-in, so nothing was changed."),
    advice=_("Go back, load the page again, and send it again."),
)

DESK_FORM_FOREIGN = Problem(
    code="desk-form-foreign",
    status=403,
    text=_("This was sent from a page that is not ours, so nothing was changed."),
    advice=_("Open the access desk itself, and do it there."),
)

DESK_TOO_LARGE = Problem(
    code="desk-too-large",
    status=413,
    text=_("What was sent is too large, so nothing was changed."),
    advice=_("Shorten it; longer things belong into a document that a link leads to."),
)

DESK_TOO_FAST = Problem(
    code="desk-too-fast",
    status=429,
    text=_("That was too much at once, so nothing was changed."),
    advice=_("Wait a minute, and go on then."),
)
