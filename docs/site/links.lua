-- SPDX-License-Identifier: MIT
--
-- links.lua - a filter of pandoc's: links of one page to another lead to the page that is made of it
--
-- PAGE is the page, from the root of the project, where pandoc runs. What a page links to and is no page itself goes to
-- the file FILES, a path a line, so that build.sh can put a copy beside the pages.

local folder = (os.getenv("PAGE") or ""):match("^(.*/)") or ""

local function is_folder(path)
    local file = io.open(path)
    if not file then
        return false
    end
    local _, _, code = file:read(1)
    file:close()
    return code == 21 -- EISDIR
end

local function note(path)
    local files = assert(io.open(os.getenv("FILES"), "a"))
    files:write(path, "\n")
    files:close()
end

local function lead(target)
    if target:match("^%a+:") or target:match("^#") or target == "" then
        return target
    end
    local path, anchor = target:match("^([^#]*)(.*)$")
    if path:match("%.md$") then
        return path:gsub("README%.md$", "index.md"):gsub("%.md$", ".html") .. anchor
    end
    note(folder .. path)
    if is_folder(folder .. path) then
        return path:gsub("/$", "") .. "/index.html" .. anchor
    end
    return target
end

function Link(link)
    link.target = lead(link.target)
    return link
end

function Image(image)
    image.src = lead(image.src)
    return image
end
