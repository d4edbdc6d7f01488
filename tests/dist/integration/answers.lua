-- SPDX-License-Identifier: MIT
--
-- answers.lua FOLDER NAME...: for wrk: asks for the files in turn, and compares every answer with its file. Ends in the line
-- "answers N wrong M", where M also counts what wrk itself calls an error.
-- The order of answers is that of requests: one connection has one request under way, but there are many connections. So
-- the answer is told by its length, of which each file has its own, and then compared.
local threads = {}
local files, byLength, turn = {}, {}, 0
answers, wrong = 0, 0

function setup(thread)
    table.insert(threads, thread)
end

function init(args)
    for i = 2, #args do
        local file = assert(io.open(args[1] .. "/" .. args[i], "rb"))
        byLength[file:seek("end")] = assert(file:seek("set")) and file:read("*a")
        file:close()
        files[i - 1] = args[i]
    end
end

function request()
    turn = turn % #files + 1
    return wrk.format("GET", "/" .. files[turn])
end

function response(status, headers, body)
    answers = answers + 1
    if status ~= 200 or body ~= byLength[#body] then
        wrong = wrong + 1
    end
end

function done(summary)
    local n, bad = 0, 0
    for _, thread in ipairs(threads) do
        n = n + thread:get("answers")
        bad = bad + thread:get("wrong")
    end
    local e = summary.errors
    print(string.format("answers %d wrong %d", n, bad + e.connect + e.read + e.write + e.status + e.timeout))
end
