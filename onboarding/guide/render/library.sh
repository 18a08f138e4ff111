set -eu
umask 077
cd "$(dirname "$0")"
mkdir -p answers
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 130' INT TERM
export AWS_PAGER='' AWS_DEFAULT_OUTPUT=json

say() { printf '%s %s\n' "$(date +%H:%M:%S)" "$*" >&2; }

stop() {
  say "Stopped: $*"
  exit 1
}

need_tools() {
  for tool in "$@"; do
    command -v "$tool" >/dev/null || stop "$tool is needed and was not found"
  done
}

# Values of answers by dotted path; what is not there is a mark that equals nothing that anybody wants.
# shellcheck disable=SC2016
JQ='
def missing: {"$missing": true};
def dig($parts):
  if ($parts | length) == 0 then .
  elif $parts[0] == "*" then (if type == "array" then map(dig($parts[1:])) else missing end)
  elif type == "object" then (if has($parts[0]) then .[$parts[0]] | dig($parts[1:]) else missing end)
  elif type == "array" and ($parts[0] | test("^[0-9]+$")) and ($parts[0] | tonumber) < length
  then .[$parts[0] | tonumber] | dig($parts[1:])
  else missing end;
def at($path): dig(if $path == "" then [] else $path | split(".") end);
def need($what): if . == missing or . == null then error("\($what) is not known") else . end;
def text: if type == "string" then . else tojson end;
# Lists of texts are equal in any order.
def equals($wanted): if type == "array" and ($wanted | type) == "array" and all(. + $wanted | .[]; type == "string")
  then sort == ($wanted | sort) else . == $wanted end;
def ignored($look): . as $item | [$look.ignore // {} | to_entries[] | .key as $path | .value as $values
  | ($item | at($path)) as $is | $values | type == "array" and any(.[]; . == $is)] | any;
def shown: if . == missing then "not there" else tojson end;
'

# KEY PATH [KEY PATH…]: the first value of these answers that there is, as it is written in an address
part() {
  while [ $# -ge 2 ]; do
    if part_is=$(jq -er "$JQ"'at($path) | if . == missing or . == null then empty else text | @uri end' --arg path "$2" "answers/$1.json" 2>/dev/null); then
      printf '%s\n' "$part_is"
      return 0
    fi
    part_what="$1 $2"
    shift 2
  done
  stop "$part_what is not known"
}

# KEY PATH [KEY PATH…]: whether one of these answers has a value
known() { (part "$@") >/dev/null 2>&1; }

# The code of the error in error.txt
error_code() { sed -n 's/.*An error occurred (\([^)]*\)).*/\1/p' "$tmp/error.txt" | head -n 1; }

# NAME: whether the error has a code, or a status, of the list NAME in look.json
says() {
  says_status=$(sed -n 's/.*An error occurred ([^)]*), status \([0-9]*\):.*/\1/p' "$tmp/error.txt" | head -n 1)
  jq -e --arg name "$1" --arg code "$(error_code)" --arg status "$says_status" \
    '.[$name] // [] | any(. == $code or (. == $status and $status != ""))' "$tmp/look.json" >/dev/null
}

refused() { stop "Amazon refused: $(tr '\n' ' ' <"$tmp/error.txt")"; }

# Whether Amazon refused for a moment only: nothing was made, and the same call may be made again.
not_yet() {
  grep -Eq 'IAM_SYNCHRONIZATION_DELAY|annot be assumed|Invalid principal|\((429|Throttl|TooManyRequests|SlowDown|RequestLimitExceeded|RequestThrottled)' "$tmp/error.txt"
}

# Whether Amazon could not be reached, or had a problem of its own.
trouble() { [ "$(error_code)" = "" ] || grep -Eq '\((5..|Internal|ServiceUnavailable)' "$tmp/error.txt"; }

# METHOD ADDRESS [more for curl]: prints AMC's answer; fails with what AMC said on the error channel
amc() {
  amc_method=$1 amc_address=$2
  shift 2
  : >"$tmp/amc.json"
  # The token goes through a pipe, so that nobody sees it in the list of processes.
  amc_status=$(printf 'header = "Authorization: Bearer %s"\n' "$AMC_TOKEN" |
    curl --silent --show-error --config - --output "$tmp/amc.json" --write-out '%{http_code}' \
      --request "$amc_method" --header "Amazon-Advertising-API-ClientId: $AMC_CLIENT_ID" "$@" "$amc_address") || return 1
  case $amc_status in
  2??) if [ -s "$tmp/amc.json" ]; then cat "$tmp/amc.json"; else echo '{}'; fi ;;
  *)
    amc_code=$(jq -r '.code // empty' "$tmp/amc.json" 2>/dev/null) || amc_code=
    printf 'An error occurred (%s), status %s: %s\n' "${amc_code:-$amc_status}" "$amc_status" "$(cat "$tmp/amc.json")" >&2
    return 1
    ;;
  esac
}

# ITEMS METHOD ADDRESS [more for curl]: every page of a list in one; the body of a POST is in ask.json
amc_list() {
  list_items=$1 list_method=$2 list_address=$3
  shift 3
  list_first=$list_address
  : >"$tmp/items.jsonl"
  while :; do
    if [ "$list_method" = GET ]; then
      amc GET "$list_address" "$@" >"$tmp/part.json" || return 1
    else
      amc "$list_method" "$list_address" "$@" --data "@$tmp/ask.json" >"$tmp/part.json" || return 1
    fi
    jq -c --arg items "$list_items" '.[$items] // [] | .[]' "$tmp/part.json" >>"$tmp/items.jsonl" || return 1
    list_next=$(jq -r '.nextToken // "" | @uri' "$tmp/part.json") || return 1
    [ -n "$list_next" ] || break
    case $list_first in
    *\?*) list_address="$list_first&nextToken=$list_next" ;;
    *) list_address="$list_first?nextToken=$list_next" ;;
    esac
    if [ "$list_method" != GET ]; then
      list_address=$list_first
      jq -c '.nextToken' "$tmp/part.json" >"$tmp/next.json" || return 1
      jq -c --slurpfile next "$tmp/next.json" '.nextToken = $next[0]' "$tmp/ask.json" >"$tmp/again.json" || return 1
      mv "$tmp/again.json" "$tmp/ask.json"
    fi
  done
  jq -c -s --arg items "$list_items" '{($items): .}' "$tmp/items.jsonl"
}

# COMMAND…: whether what look.json describes is there; it is then in found.json
finds() {
  if ! "$@" >"$tmp/page.json" 2>"$tmp/error.txt"; then
    says missing || refused
    jq -e '.several // false' "$tmp/look.json" >/dev/null || return 1
    echo '{}' >"$tmp/page.json"
  fi
  [ -s "$tmp/page.json" ] || echo '{}' >"$tmp/page.json"
  if [ "$(jq -r '.items // ""' "$tmp/look.json")" = "" ]; then
    mv "$tmp/page.json" "$tmp/found.json"
    return 0
  fi
  jq -c --slurpfile look "$tmp/look.json" '.[$look[0].items] // [] | .[]' "$tmp/page.json" >"$tmp/listed.jsonl"
  if [ "$(jq -r '.detail // ""' "$tmp/look.json")" != "" ]; then
    : >"$tmp/detailed.jsonl"
    while IFS= read -r finds_item <&3; do
      if printf '%s\n' "$finds_item" | jq -e "$JQ"'ignored($look[0])' --slurpfile look "$tmp/look.json" >/dev/null; then
        continue
      fi
      printf '%s\n' "$finds_item" | jq -c "$JQ"'. as $item | $look[0] as $look
        | $look.params + ($look.detail_param | map_values(. as $path | $item | at($path)))' \
        --slurpfile look "$tmp/look.json" >"$tmp/detail.json"
      if ! detail >"$tmp/one.json" 2>"$tmp/error.txt"; then refused; fi
      jq -c . "$tmp/one.json" >>"$tmp/detailed.jsonl"
    done 3<"$tmp/listed.jsonl"
    mv "$tmp/detailed.jsonl" "$tmp/listed.jsonl"
  fi
  jq -c -s "$JQ"'$look[0] as $look | map(select(ignored($look) | not) | . as $item
    | select([$look.where | to_entries[] | .key as $path | .value as $wanted | $item | at($path) | equals($wanted)] | all))' \
    --slurpfile look "$tmp/look.json" "$tmp/listed.jsonl" >"$tmp/fitting.json"
  if jq -e '.several // false' "$tmp/look.json" >/dev/null; then
    jq --slurpfile look "$tmp/look.json" '{($look[0].items): .}' "$tmp/fitting.json" >"$tmp/found.json"
    return 0
  fi
  if jq -e '.first // false' "$tmp/look.json" >/dev/null; then
    jq '.[:1]' "$tmp/fitting.json" >"$tmp/first.json"
    mv "$tmp/first.json" "$tmp/fitting.json"
  fi
  finds_count=$(jq length "$tmp/fitting.json")
  [ "$finds_count" -le 1 ] || stop "There are $finds_count that fit where there should be one. Remove or rename all but one: $(jq -c . "$tmp/fitting.json")"
  [ "$finds_count" -eq 1 ] || return 1
  jq '.[0]' "$tmp/fitting.json" >"$tmp/found.json"
}

# Whether found.json is as look.json wants it; if not, difference.txt says where
is_same() {
  jq -r "$JQ"'$look[0] as $look | . as $found
    | [$look.same // {} | to_entries[] | .key as $path | .value as $wanted | ($found | at($path)) as $is
      | select(($is | if . == missing then null else . end) != $wanted) | {$path, $is, $wanted}] as $unequal
    | [$look.alike // {} | to_entries[] | .key as $path | .value as $wanted | ($found | at($path)) as $is
      | select($is != missing and $is != null and $is != "")
      | select(($is | tostring | ascii_downcase) != ($wanted | ascii_downcase)) | {$path, $is, $wanted}] as $unlike
    | ($unequal + $unlike) as $all
    | ($all | map("\(.path) is \(.is | shown), wanted \(.wanted | tojson)") | join("; ")) as $why
    | if ($all | length) == 0 then ""
      elif ($look.differs // "") == "" then "It exists already, but is different: \($why)"
      else "\($look.differs | gsub("\\{found\\}"; $all[0].is | if . == missing then "not there" else text end)) (\($why))" end
    | if . != "" and ($look.todo // "") != "" then "\(.). \($look.todo)" else . end' \
    --slurpfile look "$tmp/look.json" "$tmp/found.json" >"$tmp/difference.txt" || stop "The answer can't be read"
  [ ! -s "$tmp/difference.txt" ] || [ "$(cat "$tmp/difference.txt")" = "" ]
}

stop_absent() { stop "$(jq -r '[.absent // "It was not found.", .todo // empty] | join(" ")' "$tmp/look.json")"; }

stop_different() { stop "$(cat "$tmp/difference.txt")"; }

# KEY: keeps found.json as the answer of a step
use() {
  jq --slurpfile look "$tmp/look.json" \
    'if ($look[0].wrap // "") == "" then . else {($look[0].wrap): .} end' "$tmp/found.json" >"$tmp/kept.json"
  mv "$tmp/kept.json" "answers/$1.json"
}

# KEY COMMAND…: makes a call that changes something, once; only what Amazon refused for a moment is made again
make() {
  make_key=$1 make_tries=0 make_again=
  shift
  [ ! -e "answers/$make_key.begun" ] || make_again=yes
  : >"answers/$make_key.begun"
  until (
    # A repetition by the command line itself could make a second one.
    export AWS_MAX_ATTEMPTS=1
    "$@"
  ) >"$tmp/made.json" 2>"$tmp/error.txt"; do
    make_tries=$((make_tries + 1))
    if [ -n "$make_again" ] && [ -e "$tmp/look.json" ] && says echo; then
      say "Amazon refuses a repetition: an earlier try may have done it already. Start this script again later."
      exit 2
    fi
    not_yet || refused
    [ "$make_tries" -le 24 ] || refused
    say "  not yet ($(error_code): a new role takes a moment, or Amazon asks for a pause); again in ${POLL_SECONDS:-5} s"
    sleep "${POLL_SECONDS:-5}"
  done
  [ -s "$tmp/made.json" ] || echo '{}' >"$tmp/made.json"
  mv "$tmp/made.json" "answers/$make_key.json"
}

# KEY COMMAND…: makes a call that only reads
reads() {
  reads_key=$1
  shift
  "$@" >"$tmp/page.json" 2>"$tmp/error.txt" || refused
  [ -s "$tmp/page.json" ] || echo '{}' >"$tmp/page.json"
  mv "$tmp/page.json" "answers/$reads_key.json"
}

# KEY COMMAND…: looks until Amazon is done, as look.json says; stops when it failed, or after WAIT_SECONDS
waits() {
  waits_key=$1 waits_begun=$(date +%s) waits_looks=0
  shift
  waits_most=$(jq -r '[.give_up, 3600] | min | ceil' "$tmp/look.json")
  while :; do
    waits_pause=$(jq -r --argjson looks "$waits_looks" '.every[[$looks, (.every | length) - 1] | min] | ceil' "$tmp/look.json")
    waits_looks=$((waits_looks + 1))
    if "$@" >"$tmp/page.json" 2>"$tmp/error.txt"; then
      jq "$JQ"'. as $answer | $look[0] as $look | ($answer | at($look.path)) as $seen
        | (if ($look.path | split(".") | index("*")) and ($seen | type) == "array" then $seen else [$seen] end) as $several
        | [$several[] | select(. as $one
            | (($look.there // false) and . != missing and . != null) or any($look.done[]; . == $one) | not)] as $open
        | {open: (if ($look.one // false) and ($open | length) < ($several | length) then 0 else [($open | length), if $look.one // false then 1 else 0 end] | max end), failed: ([$open[] | select(. != missing) | $look.failed[text] // empty] | .[0]),
           why: (if ($look.reason // "") == "" then null else ($answer | at($look.reason)) end
             | if . == null or . == missing or . == "" then "" else " Amazon says: \(text)" end),
           seen: (if $look.one // false then "nothing of it" else [$open[] | select(. != missing and . != null) | text] | unique | join(", ") end)}' \
        --slurpfile look "$tmp/look.json" "$tmp/page.json" >"$tmp/verdict.json" || stop "The answer can't be read"
      if [ "$(jq .open "$tmp/verdict.json")" = 0 ]; then break; fi
      waits_failed=$(jq -r '.failed // ""' "$tmp/verdict.json")
      if [ -n "$waits_failed" ]; then
        # What is begun anew after a failure must not be taken for a repetition.
        rm -f answers/*.token
        stop "$waits_failed$(jq -r '.why' "$tmp/verdict.json") $(jq -r '.todo // ""' "$tmp/look.json")"
      fi
      waits_seen=$(jq -r '.seen' "$tmp/verdict.json")
    elif says gone; then
      echo '{}' >"$tmp/page.json"
      say "  not there any more"
      break
    elif not_yet || trouble; then
      waits_seen=
    else
      refused
    fi
    waits_pause=${POLL_SECONDS:-$waits_pause}
    if [ $(($(date +%s) + waits_pause - waits_begun)) -gt "${WAIT_SECONDS:-$waits_most}" ]; then
      say "Amazon still says ${waits_seen:-nothing}. Start this script again later; it goes on from here."
      exit 2
    fi
    say "  Amazon says ${waits_seen:-nothing yet}; looking again in $waits_pause s"
    sleep "$waits_pause"
  done
  mv "$tmp/page.json" "answers/$waits_key.json"
}

# KEY: a token that is the same each time the script is run here, so that Amazon, too, can tell a repetition
token() {
  if [ ! -s "answers/$1.token" ]; then
    od -An -N16 -tx1 /dev/urandom | tr -d ' \n' |
      sed 's/\(.\{8\}\)\(.\{4\}\)\(.\{4\}\)\(.\{4\}\)/\1-\2-\3-\4-/' >"$tmp/token"
    mv "$tmp/token" "answers/$1.token"
  fi
  cat "answers/$1.token"
}

# ACCOUNT: stops unless the credentials belong to this AWS account
check_account() {
  aws sts get-caller-identity --region us-east-1 >"$tmp/identity.json" 2>"$tmp/error.txt" || refused
  check_is=$(jq -r .Account "$tmp/identity.json")
  [ "$check_is" = "$1" ] || stop "Your AWS credentials belong to account $check_is; this is for account $1"
}
